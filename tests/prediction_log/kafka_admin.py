"""A client for what operators do to topics: make them, grow them, cut them off, delete them."""

import asyncio
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient


@asynccontextmanager
async def admin_of(address):
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def delete(admin, topic):
    """Delete a topic, and return when the broker has heard of it: it answers before, and a topic made meanwhile is the old one."""
    await admin.delete_topics([topic])
    async with asyncio.timeout(60):
        while (await admin.describe_topics([topic]))[0]["partitions"]:
            await asyncio.sleep(0.05)
