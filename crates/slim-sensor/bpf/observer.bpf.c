/* Watches the processes of one container: which system calls they make, which paths they name, what they run.
 *
 * Only tracepoints are used: fentry, LSM hooks and kprobes are not everywhere. Every read of user memory happens at the
 * end of a system call, when the page that holds a path is certainly mapped. All events go through one ring buffer;
 * whatever cannot be told is counted in `drops`.
 */
#include "processes.h"
#include "io_uring.h"

char LICENSE[] SEC("license") = "GPL";
