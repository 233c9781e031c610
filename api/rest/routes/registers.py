"""Asset registers, streamed as files."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from api.rest.auth import V, Who, known_parameters
from api.rest.problems import documented
from keyvault.domain.registers import Form, Register
from keyvault.operations import registers

router = APIRouter(tags=["registers"], dependencies=[Depends(known_parameters)])
_MEDIA = {Form.CSV: "text/csv; charset=utf-8; header=present", Form.JSON: "application/json"}
_CONTENT = {
    "text/csv": {"schema": {"type": "string", "format": "binary"}},
    "application/json": {"schema": {"type": "object"}},
}


@router.get(
    "/v1/registers/{register}",
    operation_id="export_register",
    response_class=StreamingResponse,
    responses={
        **documented(403),
        200: {
            "description": "The register, as long as it may be",
            "content": _CONTENT,
        },
    },
)
def export_register(
    register: Register,
    vault: V,
    who: Who,
    form: Annotated[Form, Query(alias="format")] = Form.CSV,
) -> StreamingResponse:
    """Write a register of assets: every key, module, person or certificate."""
    parts = registers.export(vault, who, register, form)
    name = f'attachment; filename="{register}.{form}"'
    headers = {"content-disposition": name}
    return StreamingResponse(parts, media_type=_MEDIA[form], headers=headers)
