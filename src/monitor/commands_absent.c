/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands of QEMU's monitor that are not here, and why, for who types them. docs/monitor.md has them for who reads. */
#include <stddef.h>
#include <string.h>

#include "base/bits.h"
#include "monitor/monitor_private.h"

#define SNAPSHOTS "a machine's state cannot be saved in this version; 'ospite img snapshot' keeps the disk of a machine that is off"
#define MIGRATION "machines do not move in this version"
#define JOBS "there are no jobs in this version; 'ospite img' copies, merges and converts images of machines that are off"
#define EXPORTS "a running machine's disks are not exported in this version; 'ospite nbd' exports images"
#define CAPTURE "there is no sound in this version"
#define REPLAY "runs are not recorded in this version"
#define DEBUG "it is about QEMU's inside"
#define QOM "QMP has qom-list, qom-get and qom-set"
#define DESCRIPTORS "descriptors come over QMP's socket only"
#define DIRTY "pages that the guest writes are not counted in this version"
#define TRACES "use 'log'"
#define ROCKER "there is no such switch in this version"

struct absent { const char *name, *why; };
static const struct absent commands[] = {
    { "savevm", SNAPSHOTS }, { "loadvm", SNAPSHOTS }, { "delvm", SNAPSHOTS }, { "snapshot_blkdev", JOBS }, { "snapshot_blkdev_internal", JOBS },
    { "snapshot_delete_blkdev_internal", JOBS }, { "migrate", MIGRATION }, { "migrate_cancel", MIGRATION }, { "migrate_continue", MIGRATION },
    { "migrate_incoming", MIGRATION }, { "migrate_pause", MIGRATION }, { "migrate_recover", MIGRATION }, { "migrate_set_capability", MIGRATION },
    { "migrate_set_parameter", MIGRATION }, { "migrate_start_postcopy", MIGRATION }, { "client_migrate_info", MIGRATION },
    { "x_colo_lost_heartbeat", MIGRATION }, { "calc_dirty_rate", DIRTY }, { "set_vcpu_dirty_limit", DIRTY }, { "cancel_vcpu_dirty_limit", DIRTY },
    { "block_job_cancel", JOBS }, { "block_job_complete", JOBS }, { "block_job_pause", JOBS }, { "block_job_resume", JOBS },
    { "block_job_set_speed", JOBS }, { "block_stream", JOBS }, { "drive_backup", JOBS }, { "drive_mirror", JOBS }, { "nbd_server_start", EXPORTS },
    { "nbd_server_stop", EXPORTS }, { "nbd_server_add", EXPORTS }, { "nbd_server_remove", EXPORTS }, { "wavcapture", CAPTURE },
    { "stopcapture", CAPTURE }, { "replay_break", REPLAY }, { "replay_delete_break", REPLAY }, { "replay_seek", REPLAY }, { "qemu-io", DEBUG },
    { "sync-profile", DEBUG }, { "gpa2hva", DEBUG }, { "gpa2hpa", DEBUG }, { "dumpdtb", "a PC has no device tree" },
    { "exit_preconfig", "the machine is made before monitors answer" }, { "trace-event", TRACES },
    { "singlestep", "gdb steps: 'gdbserver'" }, { "mce", "machine checks are not injected in this version" },
    { "pcie_aer_inject_error", "there is no PCI Express in this version" }, { "getfd", DESCRIPTORS }, { "closefd", DESCRIPTORS },
    { "qom-list", QOM }, { "qom-get", QOM }, { "qom-set", QOM }, { "chardev-change", "a character device that is in use keeps its backend in this version" },
};
static const struct absent lists[] = {
    { "migrate", MIGRATION }, { "migrate_capabilities", MIGRATION }, { "migrate_parameters", MIGRATION }, { "dirty_rate", DIRTY },
    { "vcpu_dirty_limit", DIRTY }, { "capture", CAPTURE }, { "replay", REPLAY }, { "opcount", DEBUG }, { "sync-profile", DEBUG }, { "trace-events", TRACES },
    { "qom-tree", QOM }, { "qdm", "'ospite -device help' lists devices" }, { "memory-devices", "memory does not come and go in this version, but by 'balloon'" },
    { "rdma", "there is no RDMA in this version" }, { "rocker", ROCKER }, { "rocker-of-dpa-flows", ROCKER }, { "rocker-of-dpa-groups", ROCKER },
    { "rocker-ports", ROCKER }, { "sev", "guests are not encrypted in this version" }, { "sgx", "guests have no SGX in this version" },
    { "spice", "there is no SPICE in this version; 'info vnc', 'info web'" }, { "stats", "'info jit', 'info blockstats'; QMP has query-stats" },
    { "tpm", "there is no TPM in this version" }, { "usbhost", "the host's USB devices are not handed on in this version" },
    { "virtio", "'info qtree -v' has the state of virtio devices" }, { "virtio-status", "'info qtree -v' has the state of virtio devices" },
    { "virtio-queue-status", "'info qtree -v' has the state of virtio devices" }, { "virtio-queue-element", "'info qtree -v' has the state of virtio devices" },
    { "virtio-vhost-queue-status", "'info qtree -v' has the state of virtio devices" }, { "vm-generation-id", "there is no such device in this version" },
};

static const char *find(const struct absent *table, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (!strcmp(table[i].name, name)) return table[i].why;
    return NULL;
}

const char *command_absent(const char *name) { return find(commands, ARRAY_SIZE(commands), name); }
const char *info_absent(const char *name) { return find(lists, ARRAY_SIZE(lists), name); }
