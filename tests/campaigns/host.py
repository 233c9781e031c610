"""One host of a service of many: the processes that it is to run, under the house's supervisor.

python -m tests.campaigns.host CONFIG NAME...
"""

import sys
from pathlib import Path

from keyvault.settings import Settings
from keyvault.supervisor import Supervisor, services


def main() -> None:
    config, *names = sys.argv[1:]
    settings = Settings.load(Path(config))
    here = [service for service in services(settings, Path(config)) if service.name in names]

    def say(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    Supervisor(here, say).run(lambda: say("ready"))


if __name__ == "__main__":
    main()
