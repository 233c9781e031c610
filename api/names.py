"""What one call carries in its ASGI scope from layer to layer."""

PRINCIPAL = "keyvault.principal"  # who calls, or None on an open path
BODY = "keyvault.body"  # bytes, measured and complete
REQUEST_ID = "keyvault.request_id"
TEMPLATE = "keyvault.template"  # of a hot route, instead of scope["route"]
WHOLE = "keyvault.whole"  # the body is here: reading it waits for nobody
