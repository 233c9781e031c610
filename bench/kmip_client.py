"""Create keys at a KMIP server, one after another. Run by the interpreter of PyKMIP's own venv."""

import argparse
import json
import time
import warnings


def main() -> None:
    warnings.simplefilter("ignore")
    from kmip import enums  # noqa: PLC0415  (our own interpreter has no PyKMIP)
    from kmip.pie.client import ProxyKmipClient  # noqa: PLC0415  (the same)

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    for name in ("ca", "certificate", "key"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    pair = {"cert": options.certificate, "key": options.key, "ca": options.ca}
    client = ProxyKmipClient("localhost", options.port, ssl_version="PROTOCOL_TLSv1_2", **pair)
    times = []
    with client:
        began, used = time.perf_counter(), time.process_time()
        while time.perf_counter() - began < options.seconds:
            asked = time.perf_counter()
            client.activate(client.create(enums.CryptographicAlgorithm.AES, 256))
            times.append(time.perf_counter() - asked)
        spent, used = time.perf_counter() - began, time.process_time() - used
    print(json.dumps(summary(times, spent, used)))


def summary(times: list[float], spent: float, used: float) -> dict[str, float]:
    """What every load tells of itself."""
    ordered = sorted(times)
    return {
        "requests": len(ordered),
        "per_second": round(len(ordered) / spent, 2),
        "p50_ms": round(ordered[len(ordered) // 2] * 1000, 2),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1000, 2),
        "client_cpu_us": round(used / len(ordered) * 1e6, 1),
    }


if __name__ == "__main__":
    main()
