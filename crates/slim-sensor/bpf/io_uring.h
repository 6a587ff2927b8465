/* io_uring: operations that go past the system calls. Its structures are the kernel's own business, so these programs
 * are optional; what they cannot tell, fanotify still sees (every file that is really opened). */
#pragma once

#include "calls.h"

enum operation {
	OPERATION_OPENAT = 18, OPERATION_STATX = 21, OPERATION_OPENAT2 = 28, OPERATION_RENAMEAT = 35,
	OPERATION_UNLINKAT = 36, OPERATION_MKDIRAT = 37, OPERATION_SYMLINKAT = 38, OPERATION_LINKAT = 39,
};

/* The numbers of accesses, by their place in `ACCESS` of src/table.rs. */
enum access { ACCESS_OPEN = 0, ACCESS_STAT = 2, ACCESS_CREATE = 9, ACCESS_RENAME_FROM = 11, ACCESS_RENAME_TO = 12, ACCESS_REMOVE = 13,
	      ACCESS_LINK_FROM = 18, ACCESS_LINK_TO = 19 };

/* The kernel has copied the name when the operation is submitted. */
static __noinline int tell_operation_path(struct scratch *scratch, struct filename *filename, int descriptor, int access)
{
	if (!scratch || !filename)
		return 1;
	long bytes = bpf_probe_read_kernel_str(scratch->record.data, PATH_BYTES, BPF_CORE_READ(filename, name));
	if (bytes <= 0) {
		drop(DROP_PATH);
		return 1;
	}
	scratch->record.event.access = access;
	return tell_path(scratch, bytes - 1, descriptor);
}

static __always_inline int submitted(struct io_kiocb *request)
{
	u64 ids = bpf_get_current_pid_tgid();
	u32 tgid = ids >> 32;
	struct process *process = bpf_map_lookup_elem(&processes, &tgid);
	struct scratch *scratch = the_scratch();
	if (!process || !scratch || !process->program)
		return 0;
	u8 operation = BPF_CORE_READ(request, opcode);
	u32 phase = phase_of(process, (u32)ids);
	struct calls *calls = calls_of(process->id, phase, IO_URING);
	if (calls)
		mark(calls->called, operation);
	struct event *event = &scratch->record.event;
	begin(event, process, phase, IO_URING, tgid);
	event->kind = EVENT_PATH;
	places_of((void *)bpf_get_current_task_btf(), &scratch->places);
	void *data = (void *)request + bpf_core_field_offset(struct io_kiocb, cmd);
	switch (operation) {
	case OPERATION_OPENAT:
	case OPERATION_OPENAT2: {
		struct io_open *open = data;
		event->flags = (u32)BPF_CORE_READ(open, how.flags);
		if (BPF_CORE_READ(open, how.resolve) & RESOLVE_IN_ROOT)
			event->flags |= FLAG_BELOW;
		return tell_operation_path(scratch, BPF_CORE_READ(open, filename), BPF_CORE_READ(open, dfd), ACCESS_OPEN);
	}
	case OPERATION_STATX: {
		struct io_statx *statx = data;
		return tell_operation_path(scratch, BPF_CORE_READ(statx, filename), BPF_CORE_READ(statx, dfd), ACCESS_STAT);
	}
	case OPERATION_UNLINKAT: {
		struct io_unlink *unlink = data;
		return tell_operation_path(scratch, BPF_CORE_READ(unlink, filename), BPF_CORE_READ(unlink, dfd), ACCESS_REMOVE);
	}
	case OPERATION_MKDIRAT: {
		struct io_mkdir *mkdir = data;
		return tell_operation_path(scratch, BPF_CORE_READ(mkdir, filename), BPF_CORE_READ(mkdir, dfd), ACCESS_CREATE);
	}
	case OPERATION_RENAMEAT: {
		struct io_rename *rename = data;
		tell_operation_path(scratch, BPF_CORE_READ(rename, oldpath), BPF_CORE_READ(rename, old_dfd), ACCESS_RENAME_FROM);
		return tell_operation_path(scratch, BPF_CORE_READ(rename, newpath), BPF_CORE_READ(rename, new_dfd), ACCESS_RENAME_TO);
	}
	case OPERATION_LINKAT:
	case OPERATION_SYMLINKAT: {
		struct io_link *link = data;
		bool is_hard = operation == OPERATION_LINKAT;
		if (is_hard)
			tell_operation_path(scratch, BPF_CORE_READ(link, oldpath), BPF_CORE_READ(link, old_dfd), ACCESS_LINK_FROM);
		return tell_operation_path(scratch, BPF_CORE_READ(link, newpath), BPF_CORE_READ(link, new_dfd),
					   is_hard ? ACCESS_LINK_TO : ACCESS_CREATE);
	}
	}
	return 0;
}

SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(on_submit, struct io_kiocb *request)
{
	submitted(request);
	return 0;
}

/* The name until Linux 6.3. Only since 5.19 does the request come first. */
SEC("tp_btf/io_uring_submit_sqe")
int BPF_PROG(on_submit_old, struct io_kiocb *request)
{
	submitted(request);
	return 0;
}
