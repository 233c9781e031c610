"""What a gate writes on its token, held against its register."""

from uuid import uuid4

import pytest

from keyvault.domain.errors import RolledBackError
from keyvault.gate.anchor import RedeemedAnchor
from keyvault.gate.register import Register


@pytest.mark.parametrize("name", ["softhsm"])
def test_nodes_of_one_token_and_register_have_an_anchor_each(device, tmp_path) -> None:
    register, nodes = Register(tmp_path / "gate.db"), [str(uuid4()), str(uuid4())]
    one, two = (RedeemedAnchor(device, register, node) for node in nodes)
    register.withdraw(uuid4())
    one.note()
    two.check()  # it has told nothing yet, and so has forgotten nothing
    two.note()
    one.check()
    register.close()
    older = Register(tmp_path / "yesterday" / "gate.db")
    with pytest.raises(RolledBackError, match="folder is an older copy"):
        RedeemedAnchor(device, older, nodes[0]).check()
    older.close()
