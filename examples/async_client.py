"""Ask for the recommendations of many users at the same time, on one event loop.

python examples/async_client.py http://127.0.0.1:8000 17850 13047 12583
"""

from __future__ import annotations

import asyncio
import sys

from millstream_client import AsyncClient, Problem


async def main(server: str = "http://127.0.0.1:8000", *users: str) -> None:
    """Print the best item of each user."""
    async with AsyncClient(server) as client:
        answers = await asyncio.gather(
            *(client.recommend(user, k=1) for user in users), return_exceptions=True
        )
    for user, answer in zip(users, answers, strict=True):
        if isinstance(answer, Problem):
            print(user, answer.detail)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            print(user, *(shown.item for shown in answer.items), f"by {answer.source}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
