"""`python -m keyvault.gate --settings FILE --module keys|log [--pin-fd N]`."""

import sys

from keyvault.gate.keeper import main

sys.exit(main())
