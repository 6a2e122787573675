/* SPDX-License-Identifier: BSD-2-Clause */
service Echo {
	void ping(),
	binary echo(1: binary data),
	oneway void add(1: i32 n),
	i64 sum()
}
