/* Watches the processes of one container: which system calls they make, which paths they name, what they run.
 *
 * Only tracepoints are used. Every read of user memory happens at the end of a system call, when the page that holds a
 * path is certainly mapped. All events go through one ring buffer; whatever cannot be told is counted in `drops`.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

#define NAME_BYTES 128
#define CALL_WORDS 8
#define CALLS_MAX (CALL_WORDS * 64)
#define PATH_BYTES 4096
#define SCRATCH_BYTES (2 * PATH_BYTES)
#define DEPTH_MAX 128
#define KEY_BYTES 256
#define ARGV_BYTES 4096

#define EPERM 1
#define ENOENT 2
#define EFAULT 14
#define ENOTDIR 20
#define ENOSYS 38
#define SIGSTOP 19
#define TS_COMPAT 2
#define X32_BIT 0x40000000
#define AT_FDCWD (-100)

enum phase { RUNTIME, RUNTIME_FILTERED, STARTUP, EXERCISE, SHUTDOWN };
enum abi { X86_64, X86, X32 };
enum drop { DROP_RING, DROP_MAP, DROP_UNREAD, DROP_LONG, DROPS };

/* Set before loading. */
const volatile __u32 unified = 1;
const volatile __u32 controller = 0;

struct name { char bytes[NAME_BYTES]; };
struct process { __u32 id; __u32 program; };
struct calls_key { __u32 process; __u16 phase; __u16 abi; };
struct calls { __u64 called[CALL_WORDS], passed[CALL_WORDS], refused[CALL_WORDS], missing[CALL_WORDS]; };

/* What a system call does with paths; filled from the table in Rust. Arguments are counted from 0, -1 is none. */
struct path_argument { __s8 path; __s8 directory; __u16 access; };
struct call { struct path_argument first, second; __s8 flags; __u8 kind; __u16 spare; };
enum call_kind { PLAIN = 1, OPEN, OPEN_HOW, CONNECT, BIND, SENDMSG, SOCKET, LISTEN, PRCTL, SECCOMP, MOUNT };

struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16);
	__type(key, struct name); __type(value, __u32);
} wanted SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4096);
	__type(key, __u64); __type(value, __u32);
} control_groups SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 32768);
	__type(key, __u32); __type(value, struct process);
} processes SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 32768);
	__type(key, __u32); __type(value, __u32);
} filtered SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16384);
	__type(key, struct calls_key); __type(value, struct calls);
} system_calls SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 2 * CALLS_MAX);
	__type(key, __u32); __type(value, struct call);
} table SEC(".maps");
struct seen_key { __u64 base; __u64 inode; __u32 process; __u16 access; __u16 outcome; char path[KEY_BYTES]; };
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 16384);
	__type(key, struct seen_key); __type(value, __u8);
} seen SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 8 << 20);
} events SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, DROPS);
	__type(key, __u32); __type(value, __u64);
} drops SEC(".maps");

/* What the observer knows of the run as a whole; `phase` is set from outside. */
struct state { __u64 runtime_root; __u32 phase; __u32 stopped; __u32 next_process; __u32 spare; };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1);
	__type(key, __u32); __type(value, struct state);
} states SEC(".maps");

enum event_kind { EVENT_PATH, EVENT_EXEC, EVENT_FORK, EVENT_EXIT, EVENT_SOCKET, EVENT_LISTEN, EVENT_CALLS, EVENT_RING };
struct event {
	__u16 kind; __u16 phase; __u32 process; __u32 tgid; __u32 other;
	__u16 access; __u16 abi; __s32 result;
	__u64 flags;
	__u32 base_bytes; __u32 path_bytes;
	__u64 spare;
};

/* ---- small helpers ---- */

/* Keeps the compiler from knowing more about a number than the verifier does. */
#define bounded(number) asm volatile("" : "+r"(number))

static __always_inline void drop(__u32 kind)
{
	__u64 *count = bpf_map_lookup_elem(&drops, &kind);
	if (count)
		__sync_fetch_and_add(count, 1);
}

static __always_inline struct state *the_state(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&states, &zero);
}

static __always_inline struct cgroup *control_group_of(struct task_struct *task)
{
	if (unified)
		return BPF_CORE_READ(task, cgroups, dfl_cgrp);
	int index = 0;
	switch (controller) {
	case 1: index = bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id); break;
	case 2: index = bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id); break;
	case 3: index = bpf_core_enum_value(enum cgroup_subsys_id, devices_cgrp_id); break;
	}
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	struct cgroup_subsys_state *css = NULL;
	bpf_core_read(&css, sizeof(css), &set->subsys[index & 15]);
	return BPF_CORE_READ(css, cgroup);
}

static __always_inline __u64 control_group_id(struct task_struct *task)
{
	return BPF_CORE_READ(control_group_of(task), kn, id);
}

static __always_inline struct process *new_process(__u32 tgid, __u32 program)
{
	struct state *state = the_state();
	if (!state)
		return NULL;
	struct process process = { .id = __sync_fetch_and_add(&state->next_process, 1), .program = program };
	if (bpf_map_update_elem(&processes, &tgid, &process, BPF_ANY)) {
		drop(DROP_MAP);
		return NULL;
	}
	return bpf_map_lookup_elem(&processes, &tgid);
}

/* The process of a task in the container; NULL for all others. Most tasks of a machine are not, and a container's
 * tasks are known after their first call: so the cheap question comes first. */
static __always_inline struct process *member(struct task_struct *task, __u32 tgid)
{
	struct process *process = bpf_map_lookup_elem(&processes, &tgid);
	if (process)
		return process;
	__u64 id = control_group_id(task);
	if (!bpf_map_lookup_elem(&control_groups, &id))
		return NULL;
	return new_process(tgid, 0);
}

static __always_inline __u32 phase_of(struct process *process, __u32 tid)
{
	if (!process->program)
		return bpf_map_lookup_elem(&filtered, &tid) ? RUNTIME_FILTERED : RUNTIME;
	struct state *state = the_state();
	return state ? state->phase : STARTUP;
}

/* ---- paths ---- */

struct record {
	struct event event;
	char data[SCRATCH_BYTES + PATH_BYTES];
};
struct scratch {
	struct record record;
	struct seen_key key;
	char walked[PATH_BYTES + 256];
	struct mount *mount;
	struct dentry *dentry;
	__u32 position;
	__u32 failed;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1);
	__type(key, __u32); __type(value, struct scratch);
} scratches SEC(".maps");

static __always_inline struct scratch *the_scratch(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&scratches, &zero);
}

static __always_inline struct mount *mount_of(struct vfsmount *vfsmount)
{
	return (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
}

static long walk_step(__u32 index, void *context)
{
	struct scratch *scratch = the_scratch();
	if (!scratch)
		return 1;
	struct dentry *dentry = scratch->dentry;
	struct mount *mount = scratch->mount;
	if (dentry == BPF_CORE_READ(mount, mnt.mnt_root)) {
		struct mount *parent = BPF_CORE_READ(mount, mnt_parent);
		if (parent == mount) {
			scratch->failed = 0;
			return 1;
		}
		scratch->dentry = BPF_CORE_READ(mount, mnt_mountpoint);
		scratch->mount = parent;
		return 0;
	}
	struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
	if (parent == dentry)
		return 1;
	__u32 bytes = BPF_CORE_READ(dentry, d_name.len) & 255;
	const unsigned char *name = BPF_CORE_READ(dentry, d_name.name);
	__u32 position = scratch->position;
	if (position < bytes + 1)
		return 1;
	position -= bytes;
	if (bpf_probe_read_kernel(&scratch->walked[position & (PATH_BYTES - 1)], bytes, name))
		return 1;
	position -= 1;
	scratch->walked[position & (PATH_BYTES - 1)] = '/';
	scratch->position = position;
	scratch->dentry = parent;
	return 0;
}

/* Writes the path of a dentry, seen from the root of its mount namespace, to the end of `walked`. An empty one is the
 * root itself. 0 when it could be found: what lies in a file system of its own (pipes, sockets, memory) has none. */
static __noinline int walk(struct scratch *scratch, struct vfsmount *vfsmount, struct dentry *dentry)
{
	if (!scratch)
		return 1;
	scratch->mount = mount_of(vfsmount);
	scratch->dentry = dentry;
	scratch->position = PATH_BYTES;
	scratch->failed = 1;
	bpf_loop(DEPTH_MAX, walk_step, NULL, 0);
	return scratch->failed;
}

struct target {
	__u32 process, tgid;
	__u16 phase, abi;
};

/* The directory that a relative path starts from, or the file that a descriptor stands for. */
static __always_inline int base_of(struct task_struct *task, int descriptor, struct vfsmount **mount, struct dentry **dentry)
{
	if (descriptor == AT_FDCWD) {
		*mount = BPF_CORE_READ(task, fs, pwd.mnt);
		*dentry = BPF_CORE_READ(task, fs, pwd.dentry);
		return 0;
	}
	struct fdtable *table_of_files = BPF_CORE_READ(task, files, fdt);
	if (descriptor < 0 || (__u32)descriptor >= BPF_CORE_READ(table_of_files, max_fds))
		return 1;
	struct file **files = BPF_CORE_READ(table_of_files, fd);
	struct file *file = NULL;
	if (bpf_probe_read_kernel(&file, sizeof(file), &files[descriptor]) || !file)
		return 1;
	*mount = BPF_CORE_READ(file, f_path.mnt);
	*dentry = BPF_CORE_READ(file, f_path.dentry);
	return 0;
}

static __always_inline struct file *file_of(struct task_struct *task, int descriptor)
{
	struct fdtable *table_of_files = BPF_CORE_READ(task, files, fdt);
	if (descriptor < 0 || (__u32)descriptor >= BPF_CORE_READ(table_of_files, max_fds))
		return NULL;
	struct file **files = BPF_CORE_READ(table_of_files, fd);
	struct file *file = NULL;
	bpf_probe_read_kernel(&file, sizeof(file), &files[descriptor]);
	return file;
}

/* Tells one path. scratch->record.data holds `path_bytes` of it (0: the base itself); `descriptor` is its base. */
static __noinline int tell_path(struct scratch *scratch, __u32 path_bytes, int descriptor)
{
	if (!scratch)
		return 1;
	struct task_struct *task = (void *)bpf_get_current_task_btf();
	struct event *event = &scratch->record.event;
	struct vfsmount *mount = NULL;
	struct dentry *dentry = NULL;
	if (path_bytes && scratch->record.data[0] == '/') {
		/* A changed root makes absolute paths relative ones. */
		mount = BPF_CORE_READ(task, fs, root.mnt);
		dentry = BPF_CORE_READ(task, fs, root.dentry);
	} else if (base_of(task, descriptor, &mount, &dentry)) {
		return 1;
	}
	struct seen_key *key = &scratch->key;
	__builtin_memset(key, 0, sizeof(*key));
	if (path_bytes <= KEY_BYTES) {
		key->base = (__u64)dentry;
		key->inode = BPF_CORE_READ(dentry, d_inode, i_ino);
		key->process = event->process;
		key->access = event->access | (event->phase << 8);
		key->outcome = (__u16)event->result ^ (__u16)event->flags ^ (__u16)(event->flags >> 32 << 15);
		if (path_bytes && bpf_probe_read_kernel(key->path, path_bytes & (KEY_BYTES - 1), scratch->record.data))
			return 1;
		if (bpf_map_lookup_elem(&seen, key))
			return 0;
	}
	if (walk(scratch, mount, dentry))
		return 0;
	__u32 position = scratch->position;
	__u32 base_bytes = PATH_BYTES - position;
	if (base_bytes > PATH_BYTES - 1 || path_bytes > PATH_BYTES) {
		drop(DROP_LONG);
		return 1;
	}
	event->base_bytes = base_bytes;
	event->path_bytes = path_bytes;
	__u32 at = path_bytes & (SCRATCH_BYTES - 1);
	if (bpf_probe_read_kernel(&scratch->record.data[at], base_bytes & (PATH_BYTES - 1), &scratch->walked[position & (PATH_BYTES - 1)]))
		return 1;
	__u64 bytes = path_bytes + base_bytes;
	bounded(bytes);
	bytes = sizeof(struct event) + (bytes & (SCRATCH_BYTES - 1));
	if (bpf_ringbuf_output(&events, &scratch->record, bytes, 0)) {
		drop(DROP_RING);
		return 1;
	}
	if (path_bytes <= KEY_BYTES) {
		__u8 one = 1;
		bpf_map_update_elem(&seen, key, &one, BPF_ANY);
	}
	return 0;
}

/* ---- system calls ---- */

struct regs6 { __u64 arg[6]; };

static __always_inline void arguments(struct pt_regs *regs, bool compat, struct regs6 *args)
{
	if (compat) {
		args->arg[0] = (__u32)BPF_CORE_READ(regs, bx);
		args->arg[1] = (__u32)BPF_CORE_READ(regs, cx);
		args->arg[2] = (__u32)BPF_CORE_READ(regs, dx);
		args->arg[3] = (__u32)BPF_CORE_READ(regs, si);
		args->arg[4] = (__u32)BPF_CORE_READ(regs, di);
		args->arg[5] = (__u32)BPF_CORE_READ(regs, bp);
		return;
	}
	args->arg[0] = BPF_CORE_READ(regs, di);
	args->arg[1] = BPF_CORE_READ(regs, si);
	args->arg[2] = BPF_CORE_READ(regs, dx);
	args->arg[3] = BPF_CORE_READ(regs, r10);
	args->arg[4] = BPF_CORE_READ(regs, r8);
	args->arg[5] = BPF_CORE_READ(regs, r9);
}

static __always_inline __u32 abi_of(struct task_struct *task, __u64 *number)
{
	if (BPF_CORE_READ(task, thread_info.status) & TS_COMPAT)
		return X86;
	if (*number & X32_BIT) {
		*number &= ~(__u64)X32_BIT;
		return X32;
	}
	return X86_64;
}

static __always_inline struct calls *calls_of(__u32 process, __u32 phase, __u32 abi)
{
	struct calls_key key = { .process = process, .phase = phase, .abi = abi };
	struct calls *calls = bpf_map_lookup_elem(&system_calls, &key);
	if (calls)
		return calls;
	struct scratch *scratch = the_scratch();
	if (!scratch)
		return NULL;
	struct calls *empty = (void *)scratch->walked;
	__builtin_memset(empty, 0, sizeof(*empty));
	if (bpf_map_update_elem(&system_calls, &key, empty, BPF_NOEXIST) == -7)
		drop(DROP_MAP);
	return bpf_map_lookup_elem(&system_calls, &key);
}

#define MARK(set) do { \
	__u64 bit = 1ull << (number & 63); \
	__u64 *word = &(set)[(number >> 6) & (CALL_WORDS - 1)]; \
	if (!(*word & bit)) __sync_fetch_and_or(word, bit); \
} while (0)

SEC("tp_btf/sys_enter")
int BPF_PROG(on_enter, struct pt_regs *regs, long id)
{
	struct task_struct *task = (void *)bpf_get_current_task_btf();
	__u64 ids = bpf_get_current_pid_tgid();
	struct process *process = member(task, ids >> 32);
	if (!process)
		return 0;
	__u64 number = (__u32)id;
	__u32 abi = abi_of(task, &number);
	if (number >= CALLS_MAX)
		return 0;
	struct calls *calls = calls_of(process->id, phase_of(process, (__u32)ids), abi);
	if (!calls) {
		drop(DROP_MAP);
		return 0;
	}
	MARK(calls->called);
	return 0;
}

static __noinline int one_path(struct scratch *scratch, __u64 pointer, int descriptor, int has_path)
{
	if (!scratch)
		return 1;
	if (!has_path)
		return tell_path(scratch, 0, descriptor);
	long bytes = bpf_probe_read_user_str(scratch->record.data, PATH_BYTES, (void *)pointer);
	if (bytes < 0) {
		if (pointer)
			drop(DROP_UNREAD);
		else
			return tell_path(scratch, 0, descriptor);
		return 1;
	}
	return tell_path(scratch, (__u32)bytes - (bytes > 0), descriptor);
}

static __always_inline __u64 argument(struct regs6 *args, __s8 index)
{
	switch (index) {
	case 0: return args->arg[0];
	case 1: return args->arg[1];
	case 2: return args->arg[2];
	case 3: return args->arg[3];
	case 4: return args->arg[4];
	case 5: return args->arg[5];
	}
	return 0;
}

static __always_inline void tell_argument(struct scratch *scratch, struct regs6 *args, struct path_argument *what, __u64 flags)
{
	if (what->path < 0 && what->directory < 0)
		return;
	scratch->record.event.access = what->access;
	scratch->record.event.flags = flags;
	int descriptor = what->directory < 0 ? AT_FDCWD : (int)argument(args, what->directory);
	one_path(scratch, argument(args, what->path), descriptor, what->path >= 0);
}

static __noinline int tell_socket_path(struct scratch *scratch, __u64 address, __u64 bytes, int access)
{
	if (!scratch || !address || bytes < 3)
		return 1;
	__u16 family = 0;
	if (bpf_probe_read_user(&family, sizeof(family), (void *)address) || family != 1)
		return 1;
	__u32 path_bytes = bytes - 2 > 108 ? 108 : bytes - 2;
	__builtin_memset(scratch->record.data, 0, 112);
	if (bpf_probe_read_user(scratch->record.data, path_bytes & 127, (void *)(address + 2)))
		return 1;
	if (!scratch->record.data[0])
		return 1;
	/* A terminating NUL need not be there; what follows it is no part of the name. */
	long length = bpf_probe_read_kernel_str(scratch->key.path, KEY_BYTES, scratch->record.data);
	scratch->record.event.access = access;
	scratch->record.event.flags = 0;
	return tell_path(scratch, length > 1 ? length - 1 : 0, AT_FDCWD);
}

static __always_inline void fill(struct event *event, struct process *process, __u32 phase, __u32 abi, __u32 tgid, long result)
{
	__builtin_memset(event, 0, sizeof(*event));
	event->process = process->id;
	event->phase = phase;
	event->abi = abi;
	event->tgid = tgid;
	event->result = result;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_exit, struct pt_regs *regs, long result)
{
	struct task_struct *task = (void *)bpf_get_current_task_btf();
	__u64 ids = bpf_get_current_pid_tgid();
	__u32 tgid = ids >> 32, tid = ids;
	struct process *process = bpf_map_lookup_elem(&processes, &tgid);
	if (!process)
		return 0;
	__u64 number = BPF_CORE_READ(regs, orig_ax);
	if ((long)number < 0)
		return 0;
	__u32 abi = abi_of(task, &number);
	if (number >= CALLS_MAX)
		return 0;
	__u32 phase = phase_of(process, tid);
	struct calls *calls = calls_of(process->id, phase, abi);
	if (calls) {
		MARK(calls->called);
		if (result == -EPERM)
			MARK(calls->refused);
		else if (result == -ENOSYS)
			MARK(calls->missing);
		else
			MARK(calls->passed);
	}
	__u32 index = number + (abi == X86 ? CALLS_MAX : 0);
	struct call *call = bpf_map_lookup_elem(&table, &index);
	if (!call || !call->kind)
		return 0;
	struct regs6 args;
	arguments(regs, abi == X86, &args);
	if (phase < STARTUP) {
		bool installed = call->kind == PRCTL ? args.arg[0] == 22 && args.arg[1] == 2 && args.arg[2]
			: call->kind == SECCOMP && args.arg[0] == 1 && args.arg[2];
		if (installed && result >= 0) {
			__u32 one = 1;
			bpf_map_update_elem(&filtered, &tid, &one, BPF_ANY);
		}
		return 0;
	}
	if (result == -EFAULT)
		return 0;
	struct scratch *scratch = the_scratch();
	if (!scratch)
		return 0;
	struct event *event = &scratch->record.event;
	fill(event, process, phase, abi, tgid, result < 0 ? result : 0);
	event->kind = EVENT_PATH;
	__u64 flags = 0;
	switch (call->kind) {
	case OPEN_HOW:
		bpf_probe_read_user(&flags, sizeof(flags), (void *)argument(&args, call->flags));
		goto opened;
	case OPEN:
		flags = (__u32)argument(&args, call->flags);
	opened:
		flags &= 0xffffffff;
		if (result >= 0) {
			struct file *file = file_of(task, result);
			if (file && BPF_CORE_READ(file, f_mode) & 0x100000)
				flags |= 1ull << 32;
		}
		break;
	case MOUNT:
		if (argument(&args, 3) & ((1 << 17) | (1 << 18) | (1 << 19) | (1 << 20)))
			return 0;
		break;
	case SENDMSG: {
		__u64 message[2] = {};
		bpf_probe_read_user(message, sizeof(message), (void *)args.arg[1]);
		tell_socket_path(scratch, message[0], (__u32)message[1], call->first.access);
		return 0;
	}
	case CONNECT:
		tell_socket_path(scratch, argument(&args, call->first.path), argument(&args, call->flags), call->first.access);
		return 0;
	case LISTEN:
	case BIND: {
		if (call->kind == BIND)
			tell_socket_path(scratch, args.arg[1], args.arg[2], call->first.access);
		if (result < 0)
			return 0;
		struct file *file = file_of(task, args.arg[0]);
		struct socket *socket = file ? BPF_CORE_READ(file, private_data) : NULL;
		struct sock *sock = socket ? BPF_CORE_READ(socket, sk) : NULL;
		__u16 family = sock ? BPF_CORE_READ(sock, __sk_common.skc_family) : 0;
		__u16 type = sock ? BPF_CORE_READ(socket, type) : 0;
		if ((family != 2 && family != 10) || (call->kind == BIND && type != 2))
			return 0;
		event->kind = EVENT_LISTEN;
		event->access = type;
		event->other = family;
		event->flags = BPF_CORE_READ(sock, __sk_common.skc_num);
		event->path_bytes = 16;
		__builtin_memset(scratch->record.data, 0, 16);
		if (family == 2)
			bpf_core_read(scratch->record.data, 4, &sock->__sk_common.skc_rcv_saddr);
		else
			bpf_core_read(scratch->record.data, 16, &sock->__sk_common.skc_v6_rcv_saddr);
		if (bpf_ringbuf_output(&events, &scratch->record, sizeof(*event) + 16, 0))
			drop(DROP_RING);
		return 0;
	}
	case SOCKET:
		event->kind = EVENT_SOCKET;
		event->flags = (args.arg[0] & 0xffff) | (args.arg[1] & 0xf) << 16 | (args.arg[2] & 0xffff) << 32;
		if (bpf_ringbuf_output(&events, event, sizeof(*event), 0))
			drop(DROP_RING);
		return 0;
	}
	tell_argument(scratch, &args, &call->first, flags);
	tell_argument(scratch, &args, &call->second, 0);
	return 0;
}

/* ---- processes ---- */

static __always_inline void flush_calls(struct scratch *scratch, __u32 process)
{
#pragma unroll
	for (__u32 i = 0; i < 15; i++) {
		struct calls_key key = { .process = process, .phase = i / 3, .abi = i % 3 };
		struct calls *calls = bpf_map_lookup_elem(&system_calls, &key);
		if (!calls)
			continue;
		struct event *event = &scratch->record.event;
		__builtin_memset(event, 0, sizeof(*event));
		event->kind = EVENT_CALLS;
		event->process = process;
		event->phase = key.phase;
		event->abi = key.abi;
		event->path_bytes = sizeof(*calls);
		bpf_probe_read_kernel(scratch->record.data, sizeof(*calls), calls);
		if (bpf_ringbuf_output(&events, &scratch->record, sizeof(*event) + sizeof(*calls), 0))
			drop(DROP_RING);
		else
			bpf_map_delete_elem(&system_calls, &key);
	}
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	__u32 parent_tid = BPF_CORE_READ(parent, pid), parent_tgid = BPF_CORE_READ(parent, tgid);
	__u32 child_tid = BPF_CORE_READ(child, pid), child_tgid = BPF_CORE_READ(child, tgid);
	struct process *process = bpf_map_lookup_elem(&processes, &parent_tgid);
	if (!process)
		return 0;
	if (!process->program && bpf_map_lookup_elem(&filtered, &parent_tid)) {
		__u32 one = 1;
		bpf_map_update_elem(&filtered, &child_tid, &one, BPF_ANY);
	}
	if (child_tgid == parent_tgid)
		return 0;
	__u32 parent_id = process->id, program = process->program;
	struct process *made = new_process(child_tgid, program);
	if (!made)
		return 0;
	struct event event = { .kind = EVENT_FORK, .process = made->id, .other = parent_id, .tgid = child_tgid };
	event.phase = phase_of(made, child_tid);
	if (bpf_ringbuf_output(&events, &event, sizeof(event), 0))
		drop(DROP_RING);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_end, struct task_struct *task)
{
	__u64 ids = bpf_get_current_pid_tgid();
	__u32 tgid = ids >> 32, tid = ids;
	struct process *process = bpf_map_lookup_elem(&processes, &tgid);
	if (!process)
		return 0;
	bpf_map_delete_elem(&filtered, &tid);
	if (BPF_CORE_READ(task, signal, live.counter))
		return 0;
	struct scratch *scratch = the_scratch();
	if (scratch)
		flush_calls(scratch, process->id);
	bpf_map_delete_elem(&processes, &tgid);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_tid, struct linux_binprm *bprm)
{
	__u64 ids = bpf_get_current_pid_tgid();
	__u32 tgid = ids >> 32, tid = ids, old = old_tid;
	struct process *process = member(task, tgid);
	struct state *state = the_state();
	struct scratch *scratch = the_scratch();
	if (!process || !state || !scratch)
		return 0;
	__u32 parent = process->id, program = process->program;
	flush_calls(scratch, parent);
	bpf_map_delete_elem(&filtered, &tid);
	bpf_map_delete_elem(&filtered, &old);
	if (!program)
		program = (__u64)BPF_CORE_READ(task, fs, root.dentry) != state->runtime_root;
	process = new_process(tgid, program);
	if (!process)
		return 0;
	struct event *event = &scratch->record.event;
	fill(event, process, phase_of(process, tid), 0, tgid, 0);
	event->kind = EVENT_EXEC;
	event->other = parent;
	if (program && !__sync_val_compare_and_swap(&state->stopped, 0, 1)) {
		event->abi = 1;
		bpf_send_signal(SIGSTOP);
	}
	/* file path, name as handed to exec, arguments: each with its length in front of the next. */
	struct vfsmount *mount = BPF_CORE_READ(bprm, file, f_path.mnt);
	struct dentry *dentry = BPF_CORE_READ(bprm, file, f_path.dentry);
	long name = bpf_probe_read_kernel_str(scratch->record.data, PATH_BYTES, BPF_CORE_READ(bprm, filename));
	__u32 name_bytes = name > 0 ? name - 1 : 0;
	__u32 at = name_bytes & (PATH_BYTES - 1);
	__u32 base_bytes = 0;
	if (!walk(scratch, mount, dentry)) {
		__u32 position = scratch->position;
		base_bytes = (PATH_BYTES - position) & (PATH_BYTES - 1);
		bpf_probe_read_kernel(&scratch->record.data[at], base_bytes, &scratch->walked[position & (PATH_BYTES - 1)]);
	}
	__u64 behind = name_bytes + base_bytes;
	bounded(behind);
	behind &= SCRATCH_BYTES - 1;
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	__u64 first = BPF_CORE_READ(mm, arg_start), last = BPF_CORE_READ(mm, arg_end);
	__u64 argument_bytes = last > first ? last - first : 0;
	if (argument_bytes > ARGV_BYTES - 1)
		argument_bytes = ARGV_BYTES - 1;
	if (bpf_probe_read_user(&scratch->record.data[behind], argument_bytes & (ARGV_BYTES - 1), (void *)first))
		argument_bytes = 0;
	event->path_bytes = name_bytes;
	event->base_bytes = base_bytes;
	event->spare = argument_bytes;
	__u64 bytes = behind + argument_bytes;
	bounded(bytes);
	if (bytes > sizeof(scratch->record.data))
		return 0;
	bytes += sizeof(*event);
	if (bpf_ringbuf_output(&events, &scratch->record, bytes, 0))
		drop(DROP_RING);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(on_control_group, struct cgroup *group, const char *path)
{
	struct cgroup_root *root = BPF_CORE_READ(group, root);
	if (unified) {
		if (BPF_CORE_READ(root, hierarchy_id))
			return 0;
	} else {
		int index = 0;
		switch (controller) {
		case 1: index = bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id); break;
		case 2: index = bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id); break;
		case 3: index = bpf_core_enum_value(enum cgroup_subsys_id, devices_cgrp_id); break;
		}
		if (!(BPF_CORE_READ(root, subsys_mask) & (1u << (index & 31))))
			return 0;
	}
	struct name name = {};
	bpf_probe_read_kernel_str(name.bytes, NAME_BYTES, BPF_CORE_READ(group, kn, name));
	__u64 parent = BPF_CORE_READ(group, self.parent, cgroup, kn, id);
	bool direct = bpf_map_lookup_elem(&wanted, &name);
	if (!direct && !bpf_map_lookup_elem(&control_groups, &parent))
		return 0;
	__u64 id = BPF_CORE_READ(group, kn, id);
	__u32 one = 1;
	if (bpf_map_update_elem(&control_groups, &id, &one, BPF_ANY))
		drop(DROP_MAP);
	struct state *state = the_state();
	if (direct && state && !state->runtime_root) {
		struct task_struct *task = (void *)bpf_get_current_task_btf();
		state->runtime_root = (__u64)BPF_CORE_READ(task, fs, root.dentry);
	}
	return 0;
}
