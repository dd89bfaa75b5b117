# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
