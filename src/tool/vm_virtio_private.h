/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files about virtio devices share: a device that is being read from the command line, and the properties of all. */
#ifndef TOOL_VM_VIRTIO_PRIVATE_H
#define TOOL_VM_VIRTIO_PRIVATE_H

#include "tool/vm_options_private.h"

struct virtio_request {
    struct vm_options *o;
    struct virtio_device_config d;
    const char *drive, *rng, *netdev, *fsdev, *iothread;
    bool has_mac;
    struct drive_errors errors;
};
static inline struct virtio_request *virtio_request_of(void *t) { return t; }

int virtio_set_accept(void *t, const char *v, struct error *err);
int virtio_set_id(void *t, const char *v, struct error *err);
int virtio_set_bus(void *t, const char *v, struct error *err);
int virtio_set_addr(void *t, const char *v, struct error *err);
int virtio_set_disable_legacy(void *t, const char *v, struct error *err);
int virtio_set_disable_modern(void *t, const char *v, struct error *err);
int virtio_set_page_per_vq(void *t, const char *v, struct error *err);
int virtio_set_packed(void *t, const char *v, struct error *err);
int virtio_set_event_idx(void *t, const char *v, struct error *err);
int virtio_set_indirect(void *t, const char *v, struct error *err);
int virtio_set_queue_reset(void *t, const char *v, struct error *err);
int virtio_set_vectors(void *t, const char *v, struct error *err);
int virtio_set_ioeventfd(void *t, const char *v, struct error *err);
int virtio_set_multifunction(void *t, const char *v, struct error *err);
/* "on" clears *off. */
int virtio_set_negated(const char *name, const char *v, bool *off, struct error *err);

#define VIRTIO_COMMON_KEYS \
    { "driver", virtio_set_accept, NULL }, { "id", virtio_set_id, NULL }, { "bus", virtio_set_bus, NULL }, { "addr", virtio_set_addr, NULL }, \
    { "disable-legacy", virtio_set_disable_legacy, NULL }, { "disable-modern", virtio_set_disable_modern, NULL }, \
    { "page-per-vq", virtio_set_page_per_vq, NULL }, { "packed", virtio_set_packed, NULL }, { "event_idx", virtio_set_event_idx, NULL }, \
    { "indirect_desc", virtio_set_indirect, NULL }, { "queue_reset", virtio_set_queue_reset, NULL }, { "vectors", virtio_set_vectors, NULL }, \
    { "ioeventfd", virtio_set_ioeventfd, NULL }, { "iommu_platform", option_off_only, NULL }, { "multifunction", virtio_set_multifunction, NULL }, \
    { "ats", option_off_only, NULL }, { NULL, NULL, NULL }

/* -device scsi-hd, scsi-cd. */
struct unit_request {
    const char *what, *id, *drive, *bus, *serial;
    struct drive_identity identity;
    bool is_cdrom, has_target, has_lun;
    uint64_t target, lun;
    struct drive_errors errors;
};
/* Properties of a disk's medium, at SCSI and IDE. */
int drive_medium_set(struct drive_identity *i, const char *key, const char *v, struct error *err);
/* What of the options made by -object and -fsdev a device named; id NULL: none, or for a folder an error. */
int rng_find(const struct vm_options *o, const char *id, struct virtio_rng_config *c, struct error *err);
int share_find(struct vm_options *o, const char *id, struct virtio_9p_config *c, struct error *err);
/* -device virtserialport, virtconsole. */
struct port_request { const char *what, *id, *chardev, *name, *bus; uint64_t nr; bool has_nr, is_console; };
int virtio_port_parse(struct vm_options *o, const char *text, struct port_request *p, struct error *err);
int scsi_unit_parse(struct vm_options *o, const char *text, struct unit_request *u, struct error *err);

/* vm_iothread.c */
extern const struct option_key iothread_keys[];
int object_iothread(struct vm_options *o, const struct option_list *l, struct error *err);
int virtio_set_iothread(void *t, const char *v, struct error *err);
/* id NULL: no thread was named. */
int iothread_check(const struct vm_options *o, const char *id, struct error *err);

/* vm_nic.c */
extern const struct option_key virtio_net_keys[];
extern const struct option_key virtio_9p_keys[];      /* vm_share.c */
extern const struct option_key virtio_keyboard_keys[], virtio_pointer_keys[];     /* vm_input.c */
/* Which of the three it is. */
void virtio_input_begin(const char *name, struct virtio_device_config *d);
extern const struct option_key virtio_vsock_keys[];   /* vm_vsock.c */
/* Is everything there, and different from the other ones'? */
int virtio_vsock_check(const struct vm_options *o, const struct virtio_device_config *d, struct error *err);
/* One more virtio device. */
int virtio_request_add(struct vm_options *o, const struct virtio_request *r, struct error *err);

#endif
