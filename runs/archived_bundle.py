"""
Bundles of runs that the ledger's archive has: nothing else is asked, neither Redis nor a vendor.

Runs in: api, CLI. Trusts: the archive's file, no more than it proves. Refuses: another tenant's
run, as if there were none. May import: ledger, tenancy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from core.errors import Invalid
from ledger.archive import ArchiveReader
from ledger.bundle import BundleEntry, end_line, head_line, text_line
from ledger.bundle_check import line_facts
from ledger.leaves import LeafKind, read_leaf
from ledger.receipts import finished_leaf, make_receipt
from ledger.taking import SALT_BYTES
from tenancy.master_keys import MasterKeys
from tenancy.payload_keys import PayloadReader


class ArchivedRun:
    """One ended run in an archive, under a checkpoint."""

    def __init__(
        self, archive: ArchiveReader, masters: MasterKeys | None, receipt: Mapping[str, Any]
    ) -> None:
        self._archive = archive
        self._reader = PayloadReader(_KeysAsTheyAre(archive.data_keys()), masters)
        self.receipt = receipt
        self._leaf = finished_leaf(receipt)

    @classmethod
    def find(
        cls, archive: ArchiveReader, masters: MasterKeys | None, run: str, tenant: str | None = None
    ) -> ArchivedRun | None:
        """Give a run of a tenant, or with None of any; None if its end is under no checkpoint."""
        tenant = _tenant_of(archive, run) if tenant is None else tenant
        receipt = None if tenant is None else make_receipt(archive, run, tenant)
        return None if receipt is None else cls(archive, masters, receipt)

    @property
    def readable(self) -> bool:
        """Tell whether its payloads are there and can be opened here."""
        return bool(self._entries) and self._payload(f"tape/{self._tape}/1") is not None

    def lines(self) -> Iterator[bytes]:
        """
        Write its bundle.

        Raises:
            Invalid: the payloads of the tape were deleted, or cannot be opened here.
        """
        yield head_line(self.receipt["run"], self.receipt)
        for name, payload_id in self._payload_ids().items():
            data = self._payload(payload_id)
            if data is not None:
                yield text_line(name, data)
        for seq, line in enumerate(self.receipt["tape"], 1):
            yield self._entry(seq, line).line()
        yield end_line(self._entries)

    @property
    def _tape(self) -> str:
        return str((self._leaf.get("tape") or {}).get("id"))

    @property
    def _entries(self) -> int:
        return len(self.receipt["tape"])

    def _entry(self, seq: int, line: str) -> BundleEntry:
        data = self._payload(f"tape/{self._tape}/{seq}")
        if data is None:
            raise Invalid(
                f"what entry {seq} of the run's tape says was deleted, or is sealed with a key that"
                " is not here; the run can be proved, and not executed again"
            )
        kind, at_ms = line_facts(line)
        return BundleEntry(seq, kind, at_ms, data[SALT_BYTES:], data[:SALT_BYTES].hex())

    def _payload_ids(self) -> dict[str, str]:
        leaf, run = self._leaf, self.receipt["run"]
        tenant = leaf.get("tenant")
        return {
            "script": f"script/{tenant}/{leaf.get('script_sha256')}",
            "input": f"input/{run}",
            "surface": f"surface/{tenant}/{leaf.get('surface_sha256')}",
            "result": f"result/{self._tape}",
            "output": f"output/{self._tape}",
        }

    def _payload(self, payload_id: str) -> bytes | None:
        found = self._archive.payload(payload_id)
        return None if found is None else self._reader.open(found)


class _KeysAsTheyAre:
    """The tenants' data keys, read once for all payloads of a run."""

    def __init__(self, records: dict[str, bytes]) -> None:
        self._records = records

    def data_keys(self) -> dict[str, bytes]:
        return self._records


def _tenant_of(archive: ArchiveReader, run: str) -> str | None:
    """Give the tenant of a run, by the leaf of its acceptance."""
    for found in archive.find(run):
        fields = read_leaf(found.data)
        if fields.get("kind") == LeafKind.RUN_ACCEPTED and isinstance(fields.get("tenant"), str):
            return str(fields["tenant"])
    return None
