/* Processes: their beginning, what they run, their end. */
#pragma once

#include "calls.h"

/* Tells the calls of a process that will make no more. */
static __always_inline void flush_calls(struct scratch *scratch, u32 process)
{
#pragma unroll
	for (u32 index = 0; index < PHASES * ABIS; index++) {
		struct calls_key key = { .process = process, .phase = index / ABIS, .abi = index % ABIS };
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
		if (!tell(&scratch->record, sizeof(*event) + sizeof(*calls)))
			bpf_map_delete_elem(&system_calls, &key);
	}
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	u32 parent_tid = BPF_CORE_READ(parent, pid), parent_tgid = BPF_CORE_READ(parent, tgid);
	u32 child_tid = BPF_CORE_READ(child, pid), child_tgid = BPF_CORE_READ(child, tgid);
	struct process *process = bpf_map_lookup_elem(&processes, &parent_tgid);
	if (!process)
		return 0;
	if (!process->program && bpf_map_lookup_elem(&filtered, &parent_tid)) {
		u32 one = 1;
		bpf_map_update_elem(&filtered, &child_tid, &one, BPF_ANY);
	}
	if (child_tgid == parent_tgid)
		return 0;
	u32 parent_id = process->id;
	struct process *made = new_process(child_tgid, process->program, false);
	if (!made)
		return 0;
	struct event event = { .kind = EVENT_FORK, .process = made->id, .other = parent_id, .tgid = child_tgid };
	event.phase = phase_of(made, child_tid);
	tell(&event, sizeof(event));
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_end, struct task_struct *task)
{
	u64 ids = bpf_get_current_pid_tgid();
	u32 tgid = ids >> 32, tid = ids;
	struct process *process = bpf_map_lookup_elem(&processes, &tgid);
	if (!process)
		return 0;
	bpf_map_delete_elem(&filtered, &tid);
	/* The kernel counts a thread out before it comes here: zero is the last one. */
	if (BPF_CORE_READ(task, signal, live.counter))
		return 0;
	struct scratch *scratch = the_scratch();
	if (scratch)
		flush_calls(scratch, process->id);
	struct event event = { .kind = EVENT_EXIT, .process = process->id, .tgid = tgid };
	tell(&event, sizeof(event));
	bpf_map_delete_elem(&processes, &tgid);
	return 0;
}

/* Appends the path of a file behind `at` bytes of data; how many bytes it has. */
static __always_inline u32 append_path(struct scratch *scratch, u64 at, struct vfsmount *mount, struct dentry *dentry)
{
	if (walk(scratch, mount, dentry))
		return 0;
	u64 position = scratch->position;
	u64 bytes = below(PATH_BYTES - position, PATH_BYTES);
	bpf_probe_read_kernel(&scratch->record.data[below(at, DATA_BYTES)], bytes, &scratch->walked[below(position, PATH_BYTES)]);
	return bytes;
}

/* Appends the arguments of the new program; those beyond the limit are left out. */
static __always_inline u32 append_arguments(struct scratch *scratch, u64 at, struct task_struct *task)
{
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	u64 first = BPF_CORE_READ(mm, arg_start), last = BPF_CORE_READ(mm, arg_end);
	u64 bytes = last > first ? last - first : 0;
	if (bytes > PATH_BYTES - 1)
		bytes = PATH_BYTES - 1;
	if (bpf_probe_read_user(&scratch->record.data[below(at, DATA_BYTES)], below(bytes, PATH_BYTES), (void *)first)) {
		drop(DROP_ARGUMENTS);
		return 0;
	}
	return bytes;
}

/* Tells what is run: the name as it was handed to exec, the file that it led to, the arguments, and, where the name is
 * relative, the directory it is relative to. */
static __noinline int tell_exec(struct scratch *scratch, struct linux_binprm *bprm)
{
	if (!scratch)
		return 1;
	struct task_struct *task = (void *)bpf_get_current_task_btf();
	struct event *event = &scratch->record.event;
	long name = bpf_probe_read_kernel_str(scratch->record.data, PATH_BYTES, BPF_CORE_READ(bprm, filename));
	if (name <= 0) {
		drop(DROP_PROGRAM);
		name = 1;
	}
	bool relative = name > 1 && scratch->record.data[0] != '/';
	event->path_bytes = name - 1;
	u64 at = event->path_bytes;
	event->base_bytes = append_path(scratch, at, BPF_CORE_READ(bprm, file, f_path.mnt),
					BPF_CORE_READ(bprm, file, f_path.dentry));
	at += event->base_bytes;
	event->argument_bytes = append_arguments(scratch, at, task);
	at += event->argument_bytes;
	if (relative) {
		event->directory_bytes = append_path(scratch, at, BPF_CORE_READ(task, fs, pwd.mnt),
						     BPF_CORE_READ(task, fs, pwd.dentry));
		at += event->directory_bytes;
	}
	return tell(&scratch->record, sizeof(*event) + below(at, DATA_BYTES));
}

/* A process of the runtime becomes one of the container's programs when it runs something with another root than the
 * runtime's own. The first one is stopped: nothing of it must happen before fanotify watches its root. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_tid, struct linux_binprm *bprm)
{
	u64 ids = bpf_get_current_pid_tgid();
	u32 tgid = ids >> 32, tid = ids, old = old_tid;
	struct process *process = member((void *)bpf_get_current_task_btf(), tgid);
	struct state *state = the_state();
	struct scratch *scratch = the_scratch();
	if (!process || !state || !scratch)
		return 0;
	u32 parent = process->id;
	bool program = process->program || (u64)BPF_CORE_READ(task, fs, root.dentry) != state->runtime_root;
	flush_calls(scratch, parent);
	bpf_map_delete_elem(&filtered, &tid);
	bpf_map_delete_elem(&filtered, &old);
	process = new_process(tgid, program, true);
	if (!process)
		return 0;
	struct event *event = &scratch->record.event;
	begin(event, process, phase_of(process, tid), 0, tgid);
	event->kind = EVENT_EXEC;
	event->other = parent;
	tell_exec(scratch, bprm);
	if (program && !__sync_val_compare_and_swap(&state->stopped, 0, tgid))
		bpf_send_signal(SIGSTOP);
	return 0;
}
