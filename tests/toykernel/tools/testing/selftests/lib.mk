# SPDX-License-Identifier: GPL-2.0
# What a toy's target includes for the goals and lists that the harness uses.
TEST_GEN_PROGS := $(addprefix $(OUTPUT)/,$(TEST_GEN_PROGS))

.PHONY: all install
all: $(TEST_GEN_PROGS)

$(OUTPUT)/%: %.c
	$(CC) $(CFLAGS) $(KHDR_INCLUDES) -o $@ $<

install: all
	$(if $(TEST_PROGS)$(TEST_FILES),rsync -a $(TEST_PROGS) $(TEST_FILES) $(INSTALL_PATH)/)
	$(if $(TEST_GEN_PROGS),rsync -a $(TEST_GEN_PROGS) $(INSTALL_PATH)/)
	$(if $(wildcard settings),rsync -a settings $(INSTALL_PATH)/)
