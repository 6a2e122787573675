# SPDX-License-Identifier: BSD-2-Clause
#
# epm_pdu.py HEX: the packet in which a connectionless DCE RPC client asks an endpoint mapper to map that tower (ept_map, C706 appendix O),
# on stdout.
import struct
import sys
import uuid

EPM = uuid.UUID("e1af8308-5d1f-11c9-91a4-08002b14a0fa").bytes_le
tower = bytes.fromhex(sys.argv[1])
stub = struct.pack("<I16s", 1, bytes(16))  # a pointer to the nil object
stub += struct.pack("<III", 2, len(tower), len(tower)) + tower
stub += bytes(-len(stub) % 4) + bytes(20) + struct.pack("<I", 4)  # a new look-up of at most 4 towers
head = struct.pack("<BBBB3sB", 4, 0, 0x08, 0, b"\x10\0\0", 0)  # version 4, request, last fragment, little endian ASCII IEEE
head += bytes(16) + EPM + uuid.UUID(int=7).bytes_le
head += struct.pack("<IIIHHHHHBB", 0, 3, 1, 3, 0xFFFF, 0xFFFF, len(stub), 0, 0, 0)
sys.stdout.buffer.write(head + stub)
