/* What the observer's parts share: limits, maps, the event, the drop counters.
 *
 * `src/program.rs`, `src/table.rs` and `src/event.rs` hold the same structures in Rust.
 */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define NAME_BYTES 128
/* x32 has numbers of its own from 512 on. */
#define CALL_WORDS 10
#define CALLS_MAX (CALL_WORDS * 64)
#define PATH_BYTES 4096
#define DATA_BYTES (4 * PATH_BYTES)
#define DEPTH_MAX 2048
#define KEY_BYTES 256

#define EPERM 1
#define EINTR 4
#define EBADF 9
#define EFAULT 14
#define ENAMETOOLONG 36
#define ENOSYS 38
#define ERESTARTSYS 512
#define E2BIG 7
#define SIGSTOP 19
#define AT_FDCWD (-100)
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define SOCK_DGRAM 2
#define IPPROTO_UDP 17

enum phase { RUNTIME, RUNTIME_FILTERED, STARTUP, EXERCISE, SHUTDOWN, PHASES };
#define PROGRAM_PHASES (PHASES - STARTUP)
enum abi { X86_64, X86, X32, IO_URING, ABIS };
enum drop { DROP_RING, DROP_MAP, DROP_LONG, DROP_PATH, DROP_DESCRIPTOR, DROP_ADDRESS, DROP_PROGRAM, DROP_ARGUMENTS, DROPS };

/* Set before loading: the hierarchy by which tasks are told apart. */
const volatile u32 unified = 1;
const volatile u32 controller = 0;

struct name {
	char bytes[NAME_BYTES];
};

/* `executing`: its exec has not returned yet; the return belongs to the program that called it.
 * `known`: calls of the 64-bit ABI that stand in `system_calls` as let through, for each phase of a program. Most calls
 * are made again and again: this spares them the look-up. Set only after they stand there, and never taken back. */
struct process {
	u32 id;
	u16 program;
	u16 executing;
	u64 known[PROGRAM_PHASES][CALL_WORDS];
};

struct calls_key {
	u32 process;
	u16 phase;
	u16 abi;
};

struct calls {
	u64 called[CALL_WORDS], passed[CALL_WORDS], refused[CALL_WORDS], missing[CALL_WORDS];
};

/* What a system call does with paths; filled from the table in Rust. Arguments are counted from 0, -1 is none. */
struct path_argument {
	s8 path;
	s8 directory;
	u16 access;
};

struct call {
	struct path_argument first, second;
	s8 flags;
	u8 kind;
	/* Which arguments matter beyond paths: of `enum argued`. */
	u16 argued;
};

enum call_kind {
	PLAIN = 1, OPEN, OPEN_HOW, CREAT, CONNECT, BIND, SEND_MESSAGE, SEND_MESSAGES, SOCKET, LISTEN, PRCTL, SECCOMP, MOUNT,
	MOVE, ARGUED, FLOCK, FCNTL,
};

/* Which arguments are told as values; `slim-trace/src/arguments.rs` says the same. */
enum argued {
	ARGUED_NONE, ARGUED_FIRST, ARGUED_SECOND, ARGUED_SECOND_THIRD, ARGUED_SOCKET, ARGUED_NAMESPACES, ARGUED_EXECUTABLE,
};

/* A call of the 64-bit ABI with the values of the arguments that matter. */
struct argued_key {
	u32 process;
	u16 phase;
	u16 number;
	u64 first;
	u64 second;
};

/* Where absolute and relative paths start from. A call that changes that is only told when it has. */
struct places {
	struct vfsmount *root_mount;
	struct dentry *root;
	struct vfsmount *here_mount;
	struct dentry *here;
};

/* What was told already: the same again is no news. */
struct seen_key {
	u64 base;
	u64 inode;
	u64 flags;
	u32 process;
	s32 result;
	u16 access;
	u16 phase;
	u16 kind;
	u16 step;
	char path[KEY_BYTES];
};

/* What the observer knows of the run as a whole; only the programs write it. `stopped`: the first process. */
struct state {
	u64 runtime_root;
	u32 stopped;
	u32 next_process;
};

enum event_kind { EVENT_PATH, EVENT_EXEC, EVENT_FORK, EVENT_EXIT, EVENT_SOCKET, EVENT_LISTEN, EVENT_CALLS };

/* Flags of a path event above the 32 of open(2). */
#define FLAG_MADE (1ull << 32)
/* The path lies below its base even if it begins with a slash. */
#define FLAG_BELOW (1ull << 33)

/* One event. Behind it come path, base, arguments and directory, each with as many bytes as stand here. */
struct event {
	u16 kind;
	u16 phase;
	u32 process;
	u32 tgid;
	u32 other;
	u16 access;
	u16 abi;
	s32 result;
	u64 flags;
	u32 path_bytes;
	u32 base_bytes;
	u32 argument_bytes;
	u32 directory_bytes;
};

struct record {
	struct event event;
	char data[DATA_BYTES + PATH_BYTES];
};

/* Room to work in, one for each processor: tracepoints run their programs with preemption off. */
struct scratch {
	struct record record;
	struct seen_key key;
	char walked[PATH_BYTES + KEY_BYTES];
	struct places places;
	struct mount *mount;
	struct dentry *dentry;
	u32 position;
	u32 failed;
};

#define MAP(kind, entries, key_type, value_type) \
	__uint(type, kind); \
	__uint(max_entries, entries); \
	__type(key, key_type); \
	__type(value, value_type)

struct { MAP(BPF_MAP_TYPE_HASH, 16, struct name, u32); } wanted SEC(".maps");
struct { MAP(BPF_MAP_TYPE_HASH, 4096, u64, u32); } control_groups SEC(".maps");
struct { MAP(BPF_MAP_TYPE_HASH, 32768, u32, struct process); } processes SEC(".maps");
struct { MAP(BPF_MAP_TYPE_HASH, 4096, u32, u32); } filtered SEC(".maps");
struct { MAP(BPF_MAP_TYPE_LRU_HASH, 4096, u32, struct places); } moving SEC(".maps");
struct {
	MAP(BPF_MAP_TYPE_HASH, 65536, struct calls_key, struct calls);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} system_calls SEC(".maps");
struct { MAP(BPF_MAP_TYPE_ARRAY, 3 * CALLS_MAX, u32, struct call); } table SEC(".maps");
struct { MAP(BPF_MAP_TYPE_LRU_HASH, 16384, struct seen_key, u8); } seen SEC(".maps");
struct { MAP(BPF_MAP_TYPE_ARRAY, DROPS, u32, u64); } drops SEC(".maps");
struct { MAP(BPF_MAP_TYPE_ARRAY, 1, u32, struct state); } states SEC(".maps");
struct {
	MAP(BPF_MAP_TYPE_HASH, 65536, struct argued_key, u8);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} arguments_seen SEC(".maps");
/* The phase, the step of the exercise, and whether there was no room for arguments. */
struct { MAP(BPF_MAP_TYPE_ARRAY, 3, u32, u32); } phases SEC(".maps");
struct { MAP(BPF_MAP_TYPE_PERCPU_ARRAY, 1, u32, struct scratch); } scratches SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} events SEC(".maps");

/* Keeps the compiler from knowing more about a number than the verifier does. */
#define bounded(number) asm volatile("" : "+r"(number))

/* A number below a power of two, in a way that the verifier sees and the compiler does not take away. */
static __always_inline u64 below(u64 number, u64 power)
{
	bounded(number);
	return number & (power - 1);
}

static __always_inline void drop(u32 kind)
{
	u64 *count = bpf_map_lookup_elem(&drops, &kind);
	if (count)
		__sync_fetch_and_add(count, 1);
}

static __always_inline struct state *the_state(void)
{
	u32 zero = 0;
	return bpf_map_lookup_elem(&states, &zero);
}

static __always_inline struct scratch *the_scratch(void)
{
	u32 zero = 0;
	return bpf_map_lookup_elem(&scratches, &zero);
}

/* Tells an event without data; nothing may be lost without being counted. */
static __always_inline int tell(void *event, u64 bytes)
{
	if (!bpf_ringbuf_output(&events, event, bytes, 0))
		return 0;
	drop(DROP_RING);
	return 1;
}
