#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# run_faults.sh - see tests/run_faults.py
cd "$(dirname "$0")/.." || exit 1
exec python3 -B tests/run_faults.py "$@"
