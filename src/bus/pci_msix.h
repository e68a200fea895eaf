/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MSI-X for one PCI function: capability, vector table and pending bits in a BAR of their own. */
#ifndef BUS_PCI_MSIX_H
#define BUS_PCI_MSIX_H

#include "bus/pci.h"

enum { PCI_MSIX_VECTORS_MAX = 2048 };

/* An eventfd that sends a vector's message. */
struct pci_msix_event { struct pci_msix *msix; unsigned vector; int fd; bool by_target, watched; };

struct pci_msix {
    struct pci_device *function;
    uint8_t capability;                  /* its offset; 0: there is none */
    unsigned vectors;
    uint32_t pending_offset, bytes;      /* of the BAR */
    uint8_t *table;                      /* 16 bytes a vector: address, data, control */
    uint64_t pending[PCI_MSIX_VECTORS_MAX / 64];
    struct pci_msix_event *event;        /* a vector; made with the first */
};

/* Adds the capability at offset (12 bytes there are free) and the BAR. 0, or -1 with *err. */
int pci_msix_add(struct pci_msix *x, struct pci_device *d, unsigned vectors, unsigned bar, uint8_t offset, struct error *err);
void pci_msix_destroy(struct pci_msix *x);
/* All masked, nothing pending, switched off (PCI 3.0, 6.8.2). */
void pci_msix_reset(struct pci_msix *x);
bool pci_msix_is_enabled(const struct pci_msix *x);
/* Sends, or notes it as pending while masked. Vectors that are not there are dropped. */
void pci_msix_send(struct pci_msix *x, unsigned vector);
/* From the function's config_write: delivers what the function mask held back. */
void pci_msix_config_written(struct pci_msix *x, unsigned offset, unsigned size);
/* For those who signal from elsewhere (the kernel): an eventfd whose count sends the vector, or keeps it pending while that is masked. -1: there is
 * none, or MSI-X is off. It stays the vector's until MSI-X goes off, see pci_msix_is_enabled. */
int pci_msix_event(struct pci_msix *x, unsigned vector);
/* Bus mastering may have changed. */
void pci_msix_settle(struct pci_msix *x);

#endif
