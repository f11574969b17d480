#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
cat data
