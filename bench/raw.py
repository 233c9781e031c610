"""The limit: python-pkcs11 signing with one held key in one process, nothing around it."""

import argparse
import json
import time
from os import urandom

import pkcs11
from pkcs11 import KeyType, Mechanism, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--module", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--pin-file", required=True)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    with open(options.pin_file, encoding="ascii") as file:  # noqa: PTH123  (once, read and gone)
        pin = file.read().strip()
    token = pkcs11.lib(options.module).get_token(token_label=options.token)
    with token.open(rw=True, user_pin=pin) as session:
        parameters = session.create_domain_parameters(
            KeyType.EC,
            {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")},
            local=True,
        )
        public, private = parameters.generate_keypair(store=True, id=urandom(16))
        assert private.object_class is ObjectClass.PRIVATE_KEY
        print(json.dumps(sign(private, options.seconds)))
        private.destroy()
        public.destroy()


def sign(private: pkcs11.PrivateKey, seconds: float) -> dict[str, float]:
    digests = [urandom(32) for _ in range(64)]
    began, used, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < seconds:
        for digest in digests:
            private.sign(digest, mechanism=Mechanism.ECDSA)
        count += len(digests)
    spent = time.perf_counter() - began
    return {
        "per_second": round(count / spent, 1),
        "cpu_us": round((time.process_time() - used) / count * 1e6, 1),
    }


if __name__ == "__main__":
    main()
