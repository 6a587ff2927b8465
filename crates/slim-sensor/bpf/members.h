/* Who belongs to the container: control groups, processes, and the phase a task is in. */
#pragma once

#include "shared.h"

/* The number of the chosen v1 controller in this kernel. */
static __always_inline int subsystem(void)
{
	switch (controller) {
	case 1: return bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id);
	case 2: return bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id);
	case 3: return bpf_core_enum_value(enum cgroup_subsys_id, devices_cgrp_id);
	case 4: return bpf_core_enum_value(enum cgroup_subsys_id, freezer_cgrp_id);
	case 5: return bpf_core_enum_value(enum cgroup_subsys_id, cpu_cgrp_id);
	case 6: return bpf_core_enum_value(enum cgroup_subsys_id, cpuset_cgrp_id);
	}
	return 0;
}

static __always_inline u64 control_group_of(struct task_struct *task)
{
	if (unified)
		return BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	struct cgroup_subsys_state *css = NULL;
	bpf_core_read(&css, sizeof(css), &set->subsys[subsystem() & 15]);
	return BPF_CORE_READ(css, cgroup, kn, id);
}

static __always_inline struct process *new_process(u32 tgid, bool program, bool executing)
{
	struct state *state = the_state();
	if (!state)
		return NULL;
	struct process process = {
		.id = __sync_fetch_and_add(&state->next_process, 1),
		.program = program,
		.executing = executing,
	};
	if (bpf_map_update_elem(&processes, &tgid, &process, BPF_ANY)) {
		drop(DROP_MAP);
		return NULL;
	}
	return bpf_map_lookup_elem(&processes, &tgid);
}

/* The process of a task in the container; NULL for all others. Most tasks of a machine are not, and a container's
 * tasks are known after their first call: so the cheap question comes first. */
static __always_inline struct process *member(struct task_struct *task, u32 tgid)
{
	struct process *process = bpf_map_lookup_elem(&processes, &tgid);
	if (process)
		return process;
	u64 id = control_group_of(task);
	if (!bpf_map_lookup_elem(&control_groups, &id))
		return NULL;
	return new_process(tgid, false, false);
}

static __always_inline u32 phase_of(struct process *process, u32 tid)
{
	if (!process->program)
		return bpf_map_lookup_elem(&filtered, &tid) ? RUNTIME_FILTERED : RUNTIME;
	u32 zero = 0;
	u32 *phase = bpf_map_lookup_elem(&phases, &zero);
	return phase ? *phase : STARTUP;
}

/* The step of the exercise: what was told in one is news in the next. */
static __always_inline u16 step_now(void)
{
	u32 one = 1;
	u32 *step = bpf_map_lookup_elem(&phases, &one);
	return step ? *step : 0;
}

/* A container's control group is known by its name, those below it by their parent. Numbers of control groups are those
 * of one hierarchy: another one may use them too. */
SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(on_control_group, struct cgroup *group, const char *path)
{
	struct cgroup_root *root = BPF_CORE_READ(group, root);
	if (unified ? BPF_CORE_READ(root, hierarchy_id) != 0
		    : !(BPF_CORE_READ(root, subsys_mask) & (1u << (subsystem() & 31))))
		return 0;
	struct name name = {};
	bpf_probe_read_kernel_str(name.bytes, NAME_BYTES, BPF_CORE_READ(group, kn, name));
	u64 parent = BPF_CORE_READ(group, self.parent, cgroup, kn, id);
	bool direct = bpf_map_lookup_elem(&wanted, &name);
	if (!direct && !bpf_map_lookup_elem(&control_groups, &parent))
		return 0;
	u64 id = BPF_CORE_READ(group, kn, id);
	u32 one = 1;
	if (bpf_map_update_elem(&control_groups, &id, &one, BPF_ANY))
		drop(DROP_MAP);
	struct state *state = the_state();
	if (direct && state && !state->runtime_root) {
		struct task_struct *task = (void *)bpf_get_current_task_btf();
		state->runtime_root = (u64)BPF_CORE_READ(task, fs, root.dentry);
	}
	return 0;
}
