"""A library over PKCS#11 devices: keys and bytes, no people, no lifecycle, no SQL."""
