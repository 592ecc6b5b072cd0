"""What proves a version before a plan names it, as a type: the rules of traffic ask for it, the admin room has one.

Enters: a model and a version. Leaves: the version with its digest; `ModelRejected`, `NotFound` or `RegistryUnavailable`
where it cannot be served. Never says how it is proven.
"""

from collections.abc import Awaitable, Callable

from contracts.plan import VersionRef

CheckVersion = Callable[[str, str], Awaitable[VersionRef]]
