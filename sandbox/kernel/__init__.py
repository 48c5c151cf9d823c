"""
The few Linux system calls that the jail needs, one small ctypes module for each subject.

Runs in: zygote, child, doctor. Trusts: the kernel. Refuses: nothing; every failure is an `OSError`.
May import: stdlib; `seccomp` alone also pyseccomp, and only in a process that is thrown away.
"""
