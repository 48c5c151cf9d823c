"""One webhook of Mux with all its parts, computed by others: secret, time, body and signature."""

from __future__ import annotations

MUX_SECRET = "whsec_test_0123456789abcdef"
MUX_AT_S = 1_700_000_000
MUX_BODY = (
    b'{"type":"video.asset.deleted","id":"evt_1","object":{"type":"asset","id":"abc"},'
    b'"data":{"id":"abc","status":"ready"}}'
)
MUX_V1 = "0be850828c66c7068fbcff569bf838683455363d7c7b59e77e0b51f9a06ce86d"
#: Value of `Mux-Signature`.
MUX_HEADER = f"t={MUX_AT_S},v1={MUX_V1}"
