# SPDX-License-Identifier: BSD-2-Clause
#
# twr_samba.py HEX: what Samba's parser makes of a tower (epm_twr_t of its epmapper.idl): for each floor a line with the protocol's name and
# what it found on the right; then "same" if Samba packs it to the same octets again.
import struct
import sys

from samba.dcerpc import epmapper
from samba.ndr import ndr_pack, ndr_unpack

NAMES = {value: name[13:] for name, value in vars(epmapper).items() if name.startswith("EPM_PROTOCOL_")}
FIELDS = ("minor_version", "port", "ipaddr", "unc", "path", "name")

octets = bytes.fromhex(sys.argv[1])
wire = struct.pack("<II", len(octets), len(octets)) + octets
tower = ndr_unpack(epmapper.epm_twr_t, wire)
for floor in tower.tower.floors:
    rhs = [str(getattr(floor.rhs, f)) for f in FIELDS if hasattr(floor.rhs, f)]
    data = floor.rhs.unknown.hex() if hasattr(floor.rhs, "unknown") and not isinstance(floor.rhs.unknown, str) else ""
    print(NAMES[floor.lhs.protocol], *rhs, *([data] if data else []))
print("same" if ndr_pack(tower).rstrip(b"\0") == wire.rstrip(b"\0") else "other octets")
