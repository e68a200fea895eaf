/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -device virtio-vsock-pci. It came with virtio 1.0: there is no legacy interface. */
#include <string.h>

#include "base/error.h"
#include "tool/vm_virtio_private.h"

static int set_cid(void *t, const char *v, struct error *err)
{
    uint64_t cid;

    if (value_unsigned("guest-cid", v, UINT32_MAX - 1, &cid, err) < 0) return -1;
    if (cid < VIRTIO_VSOCK_CID_MIN) return error_set(err, "guest-cid=%s: 0 to 2 belong to hypervisor and host; it is at least %d", v, VIRTIO_VSOCK_CID_MIN);
    virtio_request_of(t)->d.vsock.guest_cid = (uint32_t)cid;
    return 0;
}

static int set_path(void *t, const char *v, struct error *err)
{
    if (!*v) return error_set(err, "path= is empty");
    if (strlen(v) > VIRTIO_VSOCK_PATH_MAX) return error_set(err, "path: at most %d characters, since _PORT is put behind it", VIRTIO_VSOCK_PATH_MAX);
    virtio_request_of(t)->d.vsock.path = v;
    return 0;
}

const struct option_key virtio_vsock_keys[] = {
    { "guest-cid", set_cid, NULL }, { "path", set_path, NULL },
    { "vhostfd", NULL, "the device is ospite's own, not the kernel's; use path=SOCKET" }, { "seqpacket", option_off_only, NULL }, VIRTIO_COMMON_KEYS,
};

int virtio_vsock_check(const struct vm_options *o, const struct virtio_device_config *d, struct error *err)
{
    if (!d->vsock.guest_cid) return error_set(err, "needs guest-cid=N, at least %d", VIRTIO_VSOCK_CID_MIN);
    if (!d->vsock.path) return error_set(err, "needs path=SOCKET, where the host's programs connect");
    for (unsigned i = 0; i < o->config.virtio_count; i++)
        if (o->config.virtio[i].kind == VIRTIO_KIND_VSOCK) return error_set(err, "one is enough: guests know only one");
    return 0;
}
