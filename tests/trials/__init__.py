"""The tool as a process of its own, and what can happen to it.

| fault | where | rounds by default, and in all |
|---|---|---|
| `kill -9` of everything | `test_kills`, `test_system_calls` | 6 and 150 |
| `kill -9` of one worker | `test_workers` | 5 and 50 |
| SIGTERM; Ctrl-C once; Ctrl-C twice or more | `test_kills` | 5 and 50 each |
| a full disk | `test_full_disks`, `test_system_calls` | 8 and 120 |
| a folder that may not be written | `test_read_only`, `test_hostile_folders` | 5 and 51 |
| too little memory | `test_memory` | 5 and 50 |
| two sweeps on one run at once | `test_twins` | 10 and 206 |
| reports and exports beside a sweep | `test_readers` | 5 and 60 |
| a rule that raises; a model that diverges; an attack that raises | `test_raising` | 5 and 50 each |
| a clock that is set back | `test_clocks` | 5 and 50 |
| files changed, exchanged or planted | `test_flips`, `test_swaps`, `test_replacing`, `test_hostile_folders` | |
| commands that nobody could mean, modules in the working folder | `test_wrong_commands`, `test_working_folder` | |

Each trial ends with the same command, which finishes the run: with the rows, networks, images and logs of an
undisturbed one, and no other files.
"""
