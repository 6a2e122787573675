# SPDX-License-Identifier: BSD-2-Clause
@0xb3f1c2a95d6e7041;

interface Echo {
	ping @0 ();
	echo @1 (data :Data) -> (data :Data);
	self @2 () -> (echo :Echo);
}
