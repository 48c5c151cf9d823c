"""
Every Redis key of ours, in one place. RQ's own keys (`rq:*`) keep RQ's names.

All start with `ms:`. A tenant's id is always the part before the last, so that ACLs can be
written by prefix.
"""

from __future__ import annotations

RING = "ms:ring"  # zset: tenant with something queued -> its place in line
TURNS = "ms:turns"  # zset: tenant off the ring -> virtual time of its next turn; '' -> now
PASSED = "ms:passed"  # hash: queue -> how often in a row those above it went before it
HOLDING = "ms:holding"  # set: tenant:key of keys with runs that wait for their other runs
PARKED = "ms:parked"  # set: tenants that may have no further run in hand
LEASES = "ms:leases"  # zset: queue|job:execution -> Unix second at which the lease ends
WAITING = "ms:waiting"  # zset: queue|run -> Unix millisecond at which the run goes on
EXPIRING = "ms:expiring"  # zset: run -> Unix millisecond until which it may begin
SCHEDULES_DUE = "ms:schedules-due"  # zset: tenant|schedule -> Unix ms at which it is due
SCHEDULES_STARTING = "ms:schedules-starting"  # zset: tenant|schedule|fire|run -> when to try again
SCHEDULES_HELD = "ms:schedules-held"  # zset: tenant|schedule with fires that wait -> next look
DONE = "ms:done"  # stream: id of each run that ended; wakes waiting requests
ENDED = "ms:ended"  # hash: reason -> runs that ended for it
SWEEP_LOCK = "ms:sweep"
SYNCS_DUE = "ms:syncs:due"  # zset: sync -> Unix millisecond at which a scheduler looks at it
MUX_JOBS = "ms:mux-jobs"  # zset: job of an event of Mux -> Unix millisecond, likewise
SCHEDULERS = "ms:schedulers"  # zset: scheduler -> Unix millisecond of its last sign of life
EPOCH = "ms:epoch"  # text: the run id of the Redis server that gave out jobs last
HOLD = "ms:hold"  # text, short-lived: Redis was restarted, nobody claims yet
KEYS = "ms:keys"  # hash: sha-256 of an API key -> JSON record
NOTHING = "ms:nothing"  # never there; what passes when Redis is full deletes it first
PACKS = "ms:catalogs"  # hash: role -> digest of the packs that its last process started with
READY = "ms:ready"  # text, short-lived: the last readiness check wrote it
TENANTS = "ms:tenants"  # hash: tenant -> JSON record
TENANT_NAMES = "ms:tenant-names"  # zset, all of score 0: every tenant, in order of names
CALLBACKS_DUE = "ms:callbacks-due"  # zset: tenant -> Unix millisecond of its next callback
VAULTS = "ms:vaults"  # set: tenants that have a data key
BATCH_DUE = "ms:batch:due"  # zset: batch -> Unix millisecond at which somebody looks at it
BATCH_WAKE = "ms:batch:wake"  # list: batches to look at now
LEDGER_INBOX = "ms:ledger:inbox"  # stream: what the sequencer has still to take
LEDGER_LOCK = "ms:ledger:lock"  # text, short-lived: which sequencer is at work
LEDGER_CHECKPOINT = "ms:ledger:checkpoint"  # text: the newest checkpoint, signed

QUEUES = "t."  # begins the name of each RQ queue of ours
PRIORITIES = ("high", "normal", "low")


def run(run_id: str) -> str:
    """Hash: the record of one run."""
    return f"ms:run:{run_id}"


def tape(run_id: str) -> str:
    """Stream with explicit ids: the tape of one run."""
    return f"ms:tape:{run_id}"


def events(run_id: str) -> str:
    """Capped stream: log lines, calls and states of one run, for people who watch."""
    return f"ms:events:{run_id}"


def script(sha256: str) -> str:
    """Text: a script, stored once by its digest."""
    return f"ms:script:{sha256}"


def batch(batch_id: str) -> str:
    """Hash: the record of one batch."""
    return f"ms:batch:{batch_id}"


def batch_items(batch_id: str) -> str:
    """Stream with explicit ids: the items of one batch, many in an entry."""
    return f"ms:batch:{batch_id}:items"


def batch_ids(batch_id: str) -> str:
    """Hash, while it is uploaded: an item's own id -> its index."""
    return f"ms:batch:{batch_id}:ids"


def batch_names(batch_id: str) -> str:
    """Hash: index of the first item of a chunk -> the own ids of its items."""
    return f"ms:batch:{batch_id}:names"


def batch_ends(batch_id: str) -> str:
    """Text: one byte for each item, 0 until it has ended, then for which reason."""
    return f"ms:batch:{batch_id}:ends"


def batch_scripts(batch_id: str) -> str:
    """Hash, until it has ended: sha-256 -> text of a script."""
    return f"ms:batch:{batch_id}:scripts"


def batch_key(tenant: str, sha256: str) -> str:
    """Text: the batch that an idempotency key has begun."""
    return f"ms:batchkey:{tenant}:{sha256}"


def tenant_batches(tenant: str) -> str:
    """Zset: batch id -> Unix milliseconds of its beginning."""
    return f"ms:batches:{tenant}"


def open_batches(tenant: str) -> str:
    """Zset: batch id -> bytes of its items, of batches that have not ended."""
    return f"ms:batches:{tenant}:open"


def surface(sha256: str) -> str:
    """Text: what scripts see of the integrations, stored once by its digest."""
    return f"ms:surface:{sha256}"


def tenant_runs(tenant: str) -> str:
    """Zset: run id -> Unix milliseconds of its acceptance."""
    return f"ms:runs:{tenant}"


def cancel(run_id: str) -> str:
    """Text, short-lived: somebody asked for this run to stop."""
    return f"ms:cancel:{run_id}"


def approvals(run_id: str) -> str:
    """Hash: number of a call -> what the run asks; `a:` and the number -> the answer."""
    return f"ms:approvals:{run_id}"


def asked(tenant: str) -> str:
    """Zset: run|number of a call -> Unix millisecond at which it was asked; only what is open."""
    return f"ms:asked:{tenant}"


def rate(bucket: str) -> str:
    """Text, short-lived: microsecond at which a bucket of a vendor's account is full again."""
    return f"ms:rate:{bucket}"


def places(account: str) -> str:
    """Zset, short-lived: lease -> microsecond of its end, of requests at a vendor's account."""
    return f"ms:places:{account}"


def queue(tenant: str, priority: str = "normal") -> str:
    """Name (not key) of the RQ queue of a tenant's runs of one priority."""
    return f"{QUEUES}{tenant}.{priority}"


def queues(tenant: str) -> list[str]:
    """Names of a tenant's RQ queues, the highest priority first."""
    return [queue(tenant, priority) for priority in PRIORITIES]


def tenant_of(queue_name: str) -> str:
    """Tenant whose queue this is; empty when it is none of ours."""
    head, _, priority = queue_name.rpartition(".")
    mine = head.startswith(QUEUES) and priority in PRIORITIES
    return head.removeprefix(QUEUES) if mine else ""


def grants(tenant: str) -> str:
    """Hash: `tenant` or a key's id -> JSON list of what it may call."""
    return f"ms:grants:{tenant}"


def tenant_keys(tenant: str) -> str:
    """Hash: id of each of the tenant's API keys -> its SHA-256."""
    return f"ms:keys:{tenant}"


def key_uses(tenant: str) -> str:
    """Hash: id of each API key -> Unix milliseconds of its last use, to the minute."""
    return f"ms:key-uses:{tenant}"


def terms(tenant: str) -> str:
    """Hash: name of a term -> integer: how much the tenant may use; `suspended_ms` beside them."""
    return f"ms:terms:{tenant}"


def key_terms(tenant: str, key_id: str) -> str:
    """Hash: name of a term -> integer: how much one of the tenant's keys may use."""
    return f"ms:terms:{tenant}:{key_id}"


def quota(tenant: str, key_id: str | None = None) -> str:
    """Hash: what a tenant, or one of its keys, used of its quotas in the last minute and day."""
    return f"ms:quota:{tenant}:{key_id}" if key_id else f"ms:quota:{tenant}"


def stored(tenant: str, key_id: str | None = None) -> str:
    """Hash: bytes that the runs of a tenant, or of one of its keys, take, by when they go."""
    return f"ms:stored:{tenant}:{key_id}" if key_id else f"ms:stored:{tenant}"


def queued_of_key(tenant: str, key_id: str) -> str:
    """Set: runs of a key that are queued or wait, if it has a quota of runs at once."""
    return f"ms:queued:{tenant}:{key_id}"


def running_of_key(tenant: str, key_id: str) -> str:
    """Set: runs of a key that workers have in hand, if it has a quota of runs at once."""
    return f"ms:running:{tenant}:{key_id}"


def held_of_key(tenant: str, key_id: str) -> str:
    """Zset: run -> millisecond of its acceptance, of those that wait for the key's other runs."""
    return f"ms:held:{tenant}:{key_id}"


def idempotency(tenant: str, digest: str) -> str:
    """Hash: what is known of a request that its client may send again, and its answer."""
    return f"ms:idem:{tenant}:{digest}"


def vault_key(tenant: str) -> str:
    """Text: the tenant's data key, wrapped with a master key; without it nothing opens."""
    return f"ms:vault:{tenant}:key"


def vault_index(tenant: str) -> str:
    """Text, sealed: which accounts the tenant has, at which versions."""
    return f"ms:vault:{tenant}:index"


def vault_accounts(tenant: str) -> str:
    """Hash: `integration.account` -> its credentials, sealed."""
    return f"ms:vault:{tenant}:accounts"


def vault_questions(key_id: str) -> str:
    """List, short-lived: questions for workers that have this master key."""
    return f"ms:vault-asks:{key_id}"


def vault_question(ask_id: str) -> str:
    """Text, short-lived, sealed: what the API asks of a tenant's vault."""
    return f"ms:vault-ask:{ask_id}"


def vault_answer(ask_id: str) -> str:
    """List, short-lived, sealed: a worker's answer."""
    return f"ms:vault-answer:{ask_id}"


def hook(hook_id: str) -> str:
    """Hash: what is kept of one inbound webhook, and what became of its events."""
    return f"ms:hook:{hook_id}"


def hooks(tenant: str) -> str:
    """Zset: hook id -> Unix millisecond of its making."""
    return f"ms:hooks:{tenant}"


def hook_events(hook_id: str) -> str:
    """Begins the names of texts, short-lived: which run an event of a hook started."""
    return f"ms:hook-event:{hook_id}"


def callback(endpoint_id: str) -> str:
    """Hash: what is kept of one endpoint of callbacks."""
    return f"ms:callback:{endpoint_id}"


def callbacks(tenant: str) -> str:
    """Zset: endpoint id -> Unix millisecond of its making."""
    return f"ms:callbacks:{tenant}"


def callback_lanes(tenant: str) -> str:
    """Zset: lane with something to deliver -> Unix millisecond at which it is due."""
    return f"ms:callback-lanes:{tenant}"


def callback_lane(lane: str) -> str:
    """Zset: delivery -> Unix millisecond at which it is due, or the lease of its sender ends."""
    return f"ms:callback-lane:{lane}"


def callback_flight(tenant: str) -> str:
    """Zset: `lane delivery` that is being sent -> Unix millisecond at which its lease ends."""
    return f"ms:callback-flight:{tenant}"


def callback_quick(tenant: str) -> str:
    """Set: lanes whose last attempt was taken quickly."""
    return f"ms:callback-quick:{tenant}"


def delivery(delivery_id: str) -> str:
    """Hash: one callback to deliver, and its attempts."""
    return f"ms:delivery:{delivery_id}"


def delivery_of(subject: str) -> str:
    """Id (not key) of the delivery that tells of the end of `subject`, a run or a batch."""
    return f"dlv_{subject[-26:]}"


def deliveries(endpoint_id: str) -> str:
    """Zset: delivery -> Unix millisecond of its making, the newest of one endpoint."""
    return f"ms:deliveries:{endpoint_id}"


def saved_scripts(tenant: str) -> str:
    """Zset, all of score 0: names of the tenant's saved scripts, in order."""
    return f"ms:saved:{tenant}"


def saved_script(tenant: str, name: str) -> str:
    """Hash: a saved script: `last` version, times, and each version's terms by its number."""
    return f"ms:savedscript:{tenant}:{name}"


def saved_texts(tenant: str, name: str) -> str:
    """Hash: number of a version of a saved script -> its text."""
    return f"ms:savedtext:{tenant}:{name}"


def saved_aliases(tenant: str, name: str) -> str:
    """Hash: alias of a saved script -> number of the version that it means."""
    return f"ms:savedalias:{tenant}:{name}"


def saved_gone(tenant: str) -> str:
    """Hash: name of a saved script that was deleted -> its last version, never used again."""
    return f"ms:savedgone:{tenant}"


def saved_bytes(tenant: str) -> str:
    """Integer: bytes of the texts and schemas of all the tenant's saved scripts."""
    return f"ms:savedbytes:{tenant}"


def connection(connection_id: str) -> str:
    """Hash: what is kept of one connection to a vendor."""
    return f"ms:connection:{connection_id}"


def connections(tenant: str) -> str:
    """Zset: connection id -> Unix millisecond of its making."""
    return f"ms:connections:{tenant}"


def sync(sync_id: str) -> str:
    """Hash: what one sync does, the run of its cycle, and what its cycles came to."""
    return f"ms:sync:{sync_id}"


def syncs(tenant: str) -> str:
    """Zset: sync id -> Unix millisecond of its making."""
    return f"ms:syncs:{tenant}"


def filling(place: str) -> str:
    """Text: the sync that fills a bucket; `place` is the tenant and a digest."""
    return f"ms:filling:{place}"


def mux_event(connection_id: str, sha256: str) -> str:
    """Text, short-lived: the job of an event of Mux; `sha256` is of the event's id."""
    return f"ms:mux-event:{connection_id}:{sha256}"


def mux_job(job_id: str) -> str:
    """Hash, short-lived: an event of Mux that is worked on, and the run that does it."""
    return f"ms:mux-job:{job_id}"


def schedules(tenant: str) -> str:
    """Zset: schedule id -> Unix milliseconds at which it was made."""
    return f"ms:schedules:{tenant}"


def schedule_rate(tenant: str) -> str:
    """Integer: how often a minute all schedules of the tenant fire together, at the most."""
    return f"ms:schedules-rate:{tenant}"


def schedule(schedule_id: str) -> str:
    """Hash: what a schedule starts and when, its state, its counts and its current run."""
    return f"ms:schedule:{schedule_id}"


def schedule_waiting(schedule_id: str) -> str:
    """List: `fire|run` of fires that wait for the run before them to end."""
    return f"ms:schedule-waiting:{schedule_id}"


def schedule_history(schedule_id: str) -> str:
    """List of JSON, newest first: what came of the last fires of a schedule."""
    return f"ms:schedule-history:{schedule_id}"
