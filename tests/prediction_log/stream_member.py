"""A member of a group that reads a stream, and keeps everything that it is given."""

import asyncio

from prediction_log.kafka.stream import KafkaStream


class Member:
    """One member that starts every partition at its saved offsets, and keeps everything it is given."""

    def __init__(self, address, options, name="one", saved=None, records_max=1000, **more):
        self.saved = {} if saved is None else saved
        self.told = []
        self.batches = []
        self.stream = KafkaStream(
            address,
            options,
            group=f"{options.prefix}-monitor",
            member=name,
            assigned=self.assigned,
            revoked=self.revoked,
            records_max=records_max,
            **more,
        )

    async def __aenter__(self):
        await self.stream.start()
        return self

    async def __aexit__(self, *exc):
        await self.stream.aclose()

    async def assigned(self, partitions):
        self.told.append(("assigned", partitions))
        for partition in partitions:
            self.stream.seek(partition, self.saved.get(partition, {}))

    async def revoked(self, partitions):
        self.told.append(("revoked", partitions))

    async def poll(self):
        got = await self.stream.poll(200)
        for partition, batch in got.items():
            self.batches.append((partition, batch))
            self.saved[partition] = batch.positions
        return got

    async def until(self, condition):
        async with asyncio.timeout(60):
            while not condition():
                await self.poll()

    async def until_read(self, number):
        """Until so many messages came."""
        await self.until(lambda: len(self.all("entries")) + len(self.all("controls")) + len(self.dead) >= number)

    def all(self, field):
        return [one for _, batch in self.batches for one in getattr(batch, field)]

    @property
    def dead(self):
        return self.all("undecodable")
