"""Smart cards over PC/SC: readers, APDUs and the PIV application of SP 800-73-4."""
