"""The PKCS#11 driver: the only folder that imports python-pkcs11."""
