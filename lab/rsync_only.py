"""A forced command that lets an account run `rsync --server` and nothing else."""

import os
import shlex
import sys

words = shlex.split(os.environ.get("SSH_ORIGINAL_COMMAND", ""))
if words[:2] != ["rsync", "--server"]:
    sys.exit("this account may only run rsync --server")
os.chdir(os.environ["HOME"])
os.execvp("rsync", words)
