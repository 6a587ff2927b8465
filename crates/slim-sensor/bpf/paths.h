/* Paths: read where the program named them, with the directory that they start from.
 *
 * Invariant: what could not be told is counted. A path is told once for each process, phase, step and outcome.
 */
#pragma once

#include "members.h"

static __always_inline struct mount *mount_of(struct vfsmount *vfsmount)
{
	return (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
}

enum walk_result { WALKED, NO_PATH, TOO_LONG };

static long walk_step(u32 index, void *context)
{
	struct scratch *scratch = the_scratch();
	if (!scratch)
		return 1;
	struct dentry *dentry = scratch->dentry;
	struct mount *mount = scratch->mount;
	if (dentry == BPF_CORE_READ(mount, mnt.mnt_root)) {
		struct mount *parent = BPF_CORE_READ(mount, mnt_parent);
		if (parent == mount) {
			scratch->failed = WALKED;
			return 1;
		}
		scratch->dentry = BPF_CORE_READ(mount, mnt_mountpoint);
		scratch->mount = parent;
		return 0;
	}
	struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
	if (parent == dentry) {
		scratch->failed = NO_PATH;
		return 1;
	}
	u64 bytes = below(BPF_CORE_READ(dentry, d_name.len), 256);
	const unsigned char *name = BPF_CORE_READ(dentry, d_name.name);
	u64 position = scratch->position;
	if (position < bytes + 1)
		return 1;
	position -= bytes;
	if (bpf_probe_read_kernel(&scratch->walked[below(position, PATH_BYTES)], bytes, name))
		return 1;
	position -= 1;
	scratch->walked[below(position, PATH_BYTES)] = '/';
	scratch->position = position;
	scratch->dentry = parent;
	return 0;
}

/* Writes the path of a dentry, seen from the root of its mount namespace, to the end of `walked`. An empty one is the
 * root itself. What lies in a file system of its own (pipes, sockets, memory) has none. */
static __noinline int walk(struct scratch *scratch, struct vfsmount *vfsmount, struct dentry *dentry)
{
	if (!scratch)
		return NO_PATH;
	scratch->mount = mount_of(vfsmount);
	scratch->dentry = dentry;
	scratch->position = PATH_BYTES;
	scratch->failed = TOO_LONG;
	bpf_loop(DEPTH_MAX, walk_step, NULL, 0);
	if (scratch->failed == TOO_LONG || scratch->position == 0) {
		drop(DROP_LONG);
		return TOO_LONG;
	}
	return scratch->failed;
}

static __always_inline struct file *file_of(struct task_struct *task, int descriptor)
{
	struct fdtable *files = BPF_CORE_READ(task, files, fdt);
	if (descriptor < 0 || (u32)descriptor >= BPF_CORE_READ(files, max_fds))
		return NULL;
	struct file **first = BPF_CORE_READ(files, fd);
	struct file *file = NULL;
	bpf_probe_read_kernel(&file, sizeof(file), &first[descriptor]);
	return file;
}

static __always_inline void places_of(struct task_struct *task, struct places *places)
{
	places->root_mount = BPF_CORE_READ(task, fs, root.mnt);
	places->root = BPF_CORE_READ(task, fs, root.dentry);
	places->here_mount = BPF_CORE_READ(task, fs, pwd.mnt);
	places->here = BPF_CORE_READ(task, fs, pwd.dentry);
}

/* The directory that a relative path starts from, or the file that a descriptor stands for. */
static __always_inline int base_of(struct places *places, int descriptor, struct vfsmount **mount, struct dentry **dentry)
{
	if (descriptor == AT_FDCWD) {
		*mount = places->here_mount;
		*dentry = places->here;
		return 0;
	}
	struct file *file = file_of((void *)bpf_get_current_task_btf(), descriptor);
	if (!file)
		return 1;
	*mount = BPF_CORE_READ(file, f_path.mnt);
	*dentry = BPF_CORE_READ(file, f_path.dentry);
	return 0;
}

/* Whether this is news, by what stands in `event`; the path of `path_bytes` is the key's already. */
static __always_inline bool is_news(struct scratch *scratch, u64 base, u64 inode)
{
	struct event *event = &scratch->record.event;
	struct seen_key *key = &scratch->key;
	key->base = base;
	key->inode = inode;
	key->flags = event->flags;
	key->process = event->process;
	key->result = event->result;
	key->access = event->access;
	key->phase = event->phase;
	key->kind = event->kind;
	key->step = step_now();
	return !bpf_map_lookup_elem(&seen, key);
}

static __always_inline void is_told(struct scratch *scratch)
{
	u8 one = 1;
	bpf_map_update_elem(&seen, &scratch->key, &one, BPF_ANY);
}

/* Tells one path. scratch->record.data holds `path_bytes` of it (0: the base itself); `descriptor` is its base, and
 * scratch->places where paths start from. */
static __noinline int tell_path(struct scratch *scratch, u64 path_length, int descriptor)
{
	if (!scratch)
		return 1;
	u64 path_bytes = below(path_length, 2 * PATH_BYTES);
	struct event *event = &scratch->record.event;
	struct vfsmount *mount = NULL;
	struct dentry *dentry = NULL;
	if (path_bytes && scratch->record.data[0] == '/' && !(event->flags & FLAG_BELOW)) {
		/* A changed root makes absolute paths relative ones; for all others it is empty. */
		mount = scratch->places.root_mount;
		dentry = scratch->places.root;
	} else if (base_of(&scratch->places, descriptor, &mount, &dentry)) {
		/* The call knew the descriptor, but another thread has closed it since. */
		if (!event->result)
			drop(DROP_DESCRIPTOR);
		return 1;
	}
	bool is_short = path_bytes < KEY_BYTES;
	if (is_short) {
		__builtin_memset(&scratch->key, 0, sizeof(scratch->key));
		if (path_bytes && bpf_probe_read_kernel(scratch->key.path, below(path_bytes, KEY_BYTES), scratch->record.data))
			return 1;
		if (!is_news(scratch, (u64)dentry, BPF_CORE_READ(dentry, d_inode, i_ino)))
			return 0;
	}
	if (walk(scratch, mount, dentry))
		return 0;
	u64 position = scratch->position;
	u64 base_bytes = PATH_BYTES - position;
	if (path_bytes > PATH_BYTES - 1 || base_bytes > PATH_BYTES - 1) {
		drop(DROP_LONG);
		return 1;
	}
	event->base_bytes = base_bytes;
	event->path_bytes = path_bytes;
	if (bpf_probe_read_kernel(&scratch->record.data[below(path_bytes, PATH_BYTES)], below(base_bytes, PATH_BYTES),
				  &scratch->walked[below(position, PATH_BYTES)]))
		return 1;
	if (tell(&scratch->record, sizeof(struct event) + below(path_bytes + base_bytes, 2 * PATH_BYTES)))
		return 1;
	if (is_short)
		is_told(scratch);
	return 0;
}

/* A path in user memory. `has_base`: without a path the descriptor itself is meant. */
static __noinline int tell_user_path(struct scratch *scratch, u64 pointer, int descriptor, bool has_path, bool has_base)
{
	if (!scratch)
		return 1;
	if (!has_path || !pointer)
		return has_base ? tell_path(scratch, 0, descriptor) : 0;
	long bytes = bpf_probe_read_user_str(scratch->record.data, PATH_BYTES, (void *)pointer);
	if (bytes < 0) {
		drop(DROP_PATH);
		return 1;
	}
	/* The length counts the NUL; older kernels say 0 for an empty string. */
	return tell_path(scratch, bytes ? bytes - 1 : 0, descriptor);
}

/* The path of a socket address in user memory, if it has one. */
static __noinline int tell_socket_path(struct scratch *scratch, u64 address, u64 bytes, int access)
{
	if (!scratch || !address || bytes < 3)
		return 1;
	u16 family = 0;
	if (bpf_probe_read_user(&family, sizeof(family), (void *)address)) {
		drop(DROP_ADDRESS);
		return 1;
	}
	if (family != AF_UNIX)
		return 0;
	u64 path_bytes = bytes - 2 > 108 ? 108 : bytes - 2;
	__builtin_memset(scratch->record.data, 0, 128);
	if (bpf_probe_read_user(scratch->record.data, below(path_bytes, 128), (void *)(address + 2))) {
		drop(DROP_ADDRESS);
		return 1;
	}
	/* An abstract one has no path. */
	if (!scratch->record.data[0])
		return 0;
	/* A terminating NUL need not be there; what follows it is no part of the name. */
	long length = bpf_probe_read_kernel_str(scratch->key.path, KEY_BYTES, scratch->record.data);
	scratch->record.event.access = access;
	return tell_path(scratch, length > 1 ? length - 1 : 0, AT_FDCWD);
}
