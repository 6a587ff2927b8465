/* System calls: which were made, with what outcome, and what they named. */
#pragma once

#include "paths.h"

#define TS_COMPAT 2
#define X32_BIT 0x40000000
/* The number of socketcall(2) in the 32-bit ABI. */
#define SOCKETCALL 102
#define FMODE_CREATED 0x100000
#define O_CREATED_TRUNCATED 01101
#define RESOLVE_IN_ROOT 0x10
#define MS_BIND (1 << 12)
#define MS_MOVE (1 << 13)
#define MS_PROPAGATION ((1 << 17) | (1 << 18) | (1 << 19) | (1 << 20))
#define PR_SET_SECCOMP 22
#define SECCOMP_MODE_FILTER 2
#define SECCOMP_SET_MODE_FILTER 1
#define MESSAGES_MAX 4
#define LOCK_EX 2
#define F_SETLK 6
#define F_SETLKW 7
#define F_SETLK64 13
#define F_SETLKW64 14
#define F_OFD_SETLK 37
#define F_OFD_SETLKW 38
#define F_WRLCK 1

struct arguments {
	u64 at[6];
};

static __always_inline void read_arguments(struct pt_regs *regs, bool compat, struct arguments *arguments)
{
	if (compat) {
		arguments->at[0] = (u32)BPF_CORE_READ(regs, bx);
		arguments->at[1] = (u32)BPF_CORE_READ(regs, cx);
		arguments->at[2] = (u32)BPF_CORE_READ(regs, dx);
		arguments->at[3] = (u32)BPF_CORE_READ(regs, si);
		arguments->at[4] = (u32)BPF_CORE_READ(regs, di);
		arguments->at[5] = (u32)BPF_CORE_READ(regs, bp);
		return;
	}
	arguments->at[0] = BPF_CORE_READ(regs, di);
	arguments->at[1] = BPF_CORE_READ(regs, si);
	arguments->at[2] = BPF_CORE_READ(regs, dx);
	arguments->at[3] = BPF_CORE_READ(regs, r10);
	arguments->at[4] = BPF_CORE_READ(regs, r8);
	arguments->at[5] = BPF_CORE_READ(regs, r9);
}

static __always_inline u64 argument(struct arguments *arguments, s8 index)
{
	switch (index) {
	case 0: return arguments->at[0];
	case 1: return arguments->at[1];
	case 2: return arguments->at[2];
	case 3: return arguments->at[3];
	case 4: return arguments->at[4];
	case 5: return arguments->at[5];
	}
	return 0;
}

static __always_inline u32 abi_of(struct task_struct *task, u64 *number)
{
	if (task->thread_info.status & TS_COMPAT)
		return X86;
	if (*number & X32_BIT) {
		*number &= ~(u64)X32_BIT;
		return X32;
	}
	return X86_64;
}

static __always_inline struct calls *calls_of(u32 process, u32 phase, u32 abi)
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
	bpf_map_update_elem(&system_calls, &key, empty, BPF_NOEXIST);
	calls = bpf_map_lookup_elem(&system_calls, &key);
	if (!calls)
		drop(DROP_MAP);
	return calls;
}

/* The word of a call in `known`; NULL for calls that are not kept there. */
static __always_inline u64 *known_word(struct process *process, u32 phase, u32 abi, u64 number)
{
	u64 row = phase - STARTUP, word = number >> 6;
	bounded(row);
	bounded(word);
	if (abi != X86_64 || row >= PROGRAM_PHASES || word >= CALL_WORDS)
		return NULL;
	return &process->known[row][word];
}

/* The bit is nearly always set already; only where it is not, other threads must be kept from losing it. */
static __always_inline void mark(u64 *words, u64 number)
{
	u64 word = number >> 6;
	bounded(word);
	if (word >= CALL_WORDS)
		return;
	u64 bit = 1ull << (number & 63);
	if (!(words[word] & bit))
		__sync_fetch_and_or(&words[word], bit);
}

static __always_inline struct call *call_of(u32 abi, u64 number)
{
	if (number >= CALLS_MAX)
		return NULL;
	u32 index = number + (abi == X86 ? CALLS_MAX : abi == X32 ? 2 * CALLS_MAX : 0);
	struct call *call = bpf_map_lookup_elem(&table, &index);
	return call && call->kind ? call : NULL;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(on_enter, struct pt_regs *regs, long id)
{
	struct task_struct *task = (void *)bpf_get_current_task_btf();
	u64 ids = bpf_get_current_pid_tgid();
	struct process *process = member(task, ids >> 32);
	if (!process)
		return 0;
	u64 number = (u32)id;
	u32 abi = abi_of(task, &number), phase = phase_of(process, (u32)ids);
	u64 *known = known_word(process, phase, abi, number);
	if (!known || !(*known & 1ull << (number & 63))) {
		struct calls *calls = calls_of(process->id, phase, abi);
		if (calls)
			mark(calls->called, number);
	}
	struct call *call = call_of(abi, number);
	if (call && call->kind == MOVE && process->program) {
		u32 tid = ids;
		struct places places;
		places_of(task, &places);
		bpf_map_update_elem(&moving, &tid, &places, BPF_ANY);
	}
	return 0;
}

static __always_inline void mark_outcome(struct calls *calls, u64 number, long result)
{
	/* A call that a filter refused never came to sys_enter. */
	mark(calls->called, number);
	if (result == -EPERM)
		mark(calls->refused, number);
	else if (result == -ENOSYS)
		mark(calls->missing, number);
	else
		mark(calls->passed, number);
}

/* A call whose path the kernel never looked at, or looks at again. */
static __always_inline bool has_no_outcome(long result)
{
	return result == -EFAULT || result == -EBADF || result == -ENAMETOOLONG || result == -ENOSYS ||
	       result == -EINTR || (result <= -ERESTARTSYS && result > -ERESTARTSYS - 16);
}

static __always_inline void begin(struct event *event, struct process *process, u32 phase, u32 abi, u32 tgid)
{
	__builtin_memset(event, 0, sizeof(*event));
	event->process = process->id;
	event->phase = phase;
	event->abi = abi;
	event->tgid = tgid;
}

static __always_inline void tell_argument(struct scratch *scratch, struct arguments *arguments, struct path_argument *what)
{
	bool has_path = what->path >= 0, has_base = what->directory >= 0;
	if (!has_path && !has_base)
		return;
	/* What a descriptor alone is asked for tells nothing when it fails. */
	if (!has_path && scratch->record.event.result)
		return;
	scratch->record.event.access = what->access;
	int descriptor = has_base ? (int)argument(arguments, what->directory) : AT_FDCWD;
	tell_user_path(scratch, argument(arguments, what->path), descriptor, has_path, has_base);
}

/* Whether a call of fcntl locks. */
static __always_inline bool locks_a_part(struct arguments *arguments)
{
	switch ((u32)arguments->at[1]) {
	case F_SETLK:
	case F_SETLKW:
	case F_SETLK64:
	case F_SETLKW64:
	case F_OFD_SETLK:
	case F_OFD_SETLKW:
		return true;
	}
	return false;
}

/* A file that was locked. `struct flock` begins with the kind of the lock. */
static __always_inline void tell_lock(struct scratch *scratch, struct call *call, struct arguments *arguments)
{
	bool exclusive = arguments->at[1] & LOCK_EX;
	if (call->kind == FCNTL) {
		u16 type = 0;
		if (bpf_probe_read_user(&type, sizeof(type), (void *)arguments->at[2]))
			drop(DROP_PATH);
		exclusive = type == F_WRLCK;
	}
	struct path_argument file = call->first;
	if (exclusive)
		file.access = call->second.access;
	tell_argument(scratch, arguments, &file);
}

/* Names where messages go: msghdr begins with pointer and length of the address. */
static __always_inline void tell_messages(struct scratch *scratch, u64 address, bool compat, u32 count, int access)
{
	for (u32 index = 0; index < MESSAGES_MAX; index++) {
		if (index >= count)
			return;
		u64 wide[2] = {};
		u32 narrow[2] = {};
		long failed = compat ? bpf_probe_read_user(narrow, sizeof(narrow), (void *)(address + index * 32))
				     : bpf_probe_read_user(wide, sizeof(wide), (void *)(address + index * 64));
		if (failed) {
			drop(DROP_ADDRESS);
			return;
		}
		if (compat)
			tell_socket_path(scratch, narrow[0], narrow[1], access);
		else
			tell_socket_path(scratch, wide[0], (u32)wide[1], access);
	}
}

/* A port that is listened on, or bound by UDP. */
static __always_inline void tell_port(struct scratch *scratch, struct file *file, bool bound)
{
	struct socket *socket = file ? BPF_CORE_READ(file, private_data) : NULL;
	struct sock *sock = socket ? BPF_CORE_READ(socket, sk) : NULL;
	if (!sock)
		return;
	u16 family = BPF_CORE_READ(sock, __sk_common.skc_family);
	u16 type = BPF_CORE_READ(socket, type);
	if (family != AF_INET && family != AF_INET6)
		return;
	if (bound && (type != SOCK_DGRAM || BPF_CORE_READ(sock, sk_protocol) != IPPROTO_UDP))
		return;
	struct event *event = &scratch->record.event;
	event->kind = EVENT_LISTEN;
	event->access = type;
	event->other = family;
	event->flags = BPF_CORE_READ(sock, __sk_common.skc_num);
	event->path_bytes = 16;
	__builtin_memset(scratch->record.data, 0, 16);
	if (family == AF_INET)
		bpf_core_read(scratch->record.data, 4, &sock->__sk_common.skc_rcv_saddr);
	else
		bpf_core_read(scratch->record.data, 16, &sock->__sk_common.skc_v6_rcv_saddr);
	tell(&scratch->record, sizeof(*event) + 16);
}

static __always_inline void tell_socket(struct scratch *scratch, struct arguments *arguments)
{
	struct event *event = &scratch->record.event;
	event->kind = EVENT_SOCKET;
	event->result = event->result ? -1 : 0;
	event->flags = (arguments->at[0] & 0xffff) | (arguments->at[1] & 0xf) << 16 | (arguments->at[2] & 0xffff) << 32;
	__builtin_memset(&scratch->key, 0, sizeof(scratch->key));
	if (is_news(scratch, 0, 0) && !tell(event, sizeof(*event)))
		is_told(scratch);
}

/* The flags of an open, with whether it made the file and whether its path stays below its base. */
static __always_inline u64 open_flags(struct task_struct *task, struct call *call, struct arguments *arguments, long result)
{
	u64 how[3] = {};
	u64 flags;
	if (call->kind == CREAT)
		flags = O_CREATED_TRUNCATED;
	else if (call->kind == OPEN)
		flags = (u32)argument(arguments, call->flags);
	else {
		if (bpf_probe_read_user(how, sizeof(how), (void *)argument(arguments, call->flags)))
			drop(DROP_PATH);
		flags = (u32)how[0] | (how[2] & RESOLVE_IN_ROOT ? FLAG_BELOW : 0);
	}
	struct file *file = result >= 0 ? file_of(task, result) : NULL;
	if (file && BPF_CORE_READ(file, f_mode) & FMODE_CREATED)
		flags |= FLAG_MADE;
	return flags;
}

/* socketcall(2) is a door to the socket calls: their arguments lie in memory. The number it stands for, or 0. */
static __always_inline u64 through_socketcall(struct arguments *arguments)
{
	u64 number;
	switch (arguments->at[0]) {
	case 1: number = 359; break;
	case 2: number = 361; break;
	case 3: number = 362; break;
	case 4: number = 363; break;
	case 8: number = 360; break;
	case 11: number = 369; break;
	case 16: number = 370; break;
	case 20: number = 345; break;
	default: return 0;
	}
	u32 words[6] = {};
	/* The shorter calls may have nothing readable behind their arguments. */
	if (bpf_probe_read_user(words, sizeof(words), (void *)arguments->at[1]) &&
	    bpf_probe_read_user(words, 12, (void *)arguments->at[1]) &&
	    bpf_probe_read_user(words, 8, (void *)arguments->at[1])) {
		drop(DROP_ADDRESS);
		return 0;
	}
	for (int index = 0; index < 6; index++)
		arguments->at[index] = words[index];
	return number;
}

static __always_inline bool installs_filter(struct call *call, struct arguments *arguments)
{
	if (call->kind == PRCTL)
		return arguments->at[0] == PR_SET_SECCOMP && arguments->at[1] == SECCOMP_MODE_FILTER && arguments->at[2];
	return call->kind == SECCOMP && arguments->at[0] == SECCOMP_SET_MODE_FILTER && arguments->at[2];
}

/* Tells everything that a call named. */
static __always_inline void tell_call(struct scratch *scratch, struct call *call, struct arguments *arguments, long result)
{
	struct task_struct *task = (void *)bpf_get_current_task_btf();
	struct event *event = &scratch->record.event;
	bool compat = event->abi == X86;
	switch (call->kind) {
	case OPEN:
	case OPEN_HOW:
	case CREAT:
		event->flags = open_flags(task, call, arguments, result);
		break;
	case MOUNT:
		if (argument(arguments, 3) & MS_PROPAGATION)
			return;
		/* Only these two have a path for a source. */
		if (argument(arguments, 3) & (MS_BIND | MS_MOVE))
			tell_argument(scratch, arguments, &call->second);
		tell_argument(scratch, arguments, &call->first);
		return;
	case SEND_MESSAGE:
		tell_messages(scratch, arguments->at[1], compat, 1, call->first.access);
		return;
	case SEND_MESSAGES:
		tell_messages(scratch, arguments->at[1], compat, result > 0 ? result : 1, call->first.access);
		return;
	case CONNECT:
		tell_socket_path(scratch, argument(arguments, call->first.path), (u32)argument(arguments, call->flags),
				 call->first.access);
		return;
	case BIND:
		tell_socket_path(scratch, arguments->at[1], (u32)arguments->at[2], call->first.access);
		if (result == 0)
			tell_port(scratch, file_of(task, arguments->at[0]), true);
		return;
	case LISTEN:
		if (result == 0)
			tell_port(scratch, file_of(task, arguments->at[0]), false);
		return;
	case SOCKET:
		tell_socket(scratch, arguments);
		return;
	case PRCTL:
	case SECCOMP:
		return;
	case FLOCK:
	case FCNTL:
		tell_lock(scratch, call, arguments);
		return;
	}
	tell_argument(scratch, arguments, &call->first);
	event->flags = 0;
	tell_argument(scratch, arguments, &call->second);
}

/* Notes a call's arguments where they matter. Without room they are all told as any: nothing is lost in silence. */
static __always_inline void note_arguments(u32 process, u32 phase, u64 number, u16 argued, struct arguments *arguments)
{
	struct argued_key key = { .process = process, .phase = phase, .number = number };
	switch (argued) {
	case ARGUED_FIRST: key.first = (u32)arguments->at[0]; break;
	case ARGUED_SECOND: key.first = (u32)arguments->at[1]; break;
	case ARGUED_SECOND_THIRD: key.first = (u32)arguments->at[1]; key.second = (u32)arguments->at[2]; break;
	case ARGUED_SOCKET: key.first = (u32)arguments->at[0]; key.second = arguments->at[1] & 0xf; break;
	case ARGUED_NAMESPACES: key.first = arguments->at[0] & 0x7E020000; break;
	case ARGUED_EXECUTABLE: key.first = arguments->at[2] & 4; break;
	default: return;
	}
	u8 one = 1;
	if (bpf_map_lookup_elem(&arguments_seen, &key) || !bpf_map_update_elem(&arguments_seen, &key, &one, BPF_ANY))
		return;
	u32 two = 2, lost = 1;
	bpf_map_update_elem(&phases, &two, &lost, BPF_ANY);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_exit, struct pt_regs *regs, long result)
{
	struct task_struct *task = (void *)bpf_get_current_task_btf();
	u64 ids = bpf_get_current_pid_tgid();
	u32 tgid = ids >> 32, tid = ids;
	struct process *process = bpf_map_lookup_elem(&processes, &tgid);
	if (!process)
		return 0;
	if (process->executing) {
		process->executing = 0;
		return 0;
	}
	u64 number = regs->orig_ax;
	/* rt_sigreturn: the registers are those of the code that was interrupted. */
	if ((long)number < 0)
		return 0;
	u32 abi = abi_of(task, &number);
	u32 phase = phase_of(process, tid);
	u64 *known = known_word(process, phase, abi, number);
	bool denied = result == -EPERM || result == -ENOSYS;
	if (denied || !known || !(*known & 1ull << (number & 63))) {
		struct calls *calls = calls_of(process->id, phase, abi);
		if (calls) {
			mark_outcome(calls, number, result);
			if (known && !denied)
				__sync_fetch_and_or(known, 1ull << (number & 63));
		}
	}
	bool indirect = abi == X86 && number == SOCKETCALL;
	struct call *call = call_of(abi, number);
	if (!call && !indirect)
		return 0;
	struct arguments arguments;
	read_arguments(regs, abi == X86, &arguments);
	if (indirect)
		call = call_of(abi, through_socketcall(&arguments));
	if (!call)
		return 0;
	if (abi == X86_64 && call->argued && phase >= RUNTIME_FILTERED && !denied)
		note_arguments(process->id, phase, number, call->argued, &arguments);
	if (call->kind == ARGUED || (call->kind == FCNTL && !locks_a_part(&arguments)))
		return 0;
	if (phase < STARTUP) {
		if (result >= 0 && installs_filter(call, &arguments)) {
			u32 one = 1;
			bpf_map_update_elem(&filtered, &tid, &one, BPF_ANY);
		}
		return 0;
	}
	struct scratch *scratch = the_scratch();
	if (!scratch || has_no_outcome(result))
		return 0;
	struct event *event = &scratch->record.event;
	begin(event, process, phase, abi, tgid);
	event->kind = EVENT_PATH;
	event->result = result < 0 ? result : 0;
	places_of(task, &scratch->places);
	if (call->kind == MOVE) {
		struct places *before = bpf_map_lookup_elem(&moving, &tid);
		if (before)
			scratch->places = *before;
		bpf_map_delete_elem(&moving, &tid);
	}
	tell_call(scratch, call, &arguments, result);
	return 0;
}
