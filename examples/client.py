"""Ask a server for a user's recommendations, and send the gateway what the user does next.

    python examples/client.py http://127.0.0.1:8000 17850
    python examples/client.py http://127.0.0.1:8000 17850 http://127.0.0.1:8001

The second line sends a click on the first item, too. The client is clients/python, which needs httpx and
pydantic alone; `make install` installs it.
"""

from __future__ import annotations

import sys

from millstream_client import Client, Interaction


def main(server: str = "http://127.0.0.1:8000", user: str = "17850", gateway: str | None = None) -> None:
    """Print recommendations and what they are based on; with a gateway, click on the first one."""
    with Client(server, gateway or "") as client:
        answer = client.recommend(user, k=5)
        for shown in answer.items:
            print(f"{shown.score:.4f}  {shown.item}  {shown.title or ''}")
        print(f"by {answer.source}, snapshot {answer.snapshot}, {answer.staleness_seconds} s stale")
        if gateway and answer.items:
            first = answer.items[0].item
            click = Interaction(user=user, item=first, type="click", impression=answer.impression)
            receipt = client.send_interactions(click)
            print(f"{receipt.accepted} accepted", *(refused.reason for refused in receipt.refused))


if __name__ == "__main__":
    main(*sys.argv[1:])
