"""The backend lxc: privileged containers on plain LXC, made from OCI images by LXC's own template.

LXC's programs are templates of the manifest; what they have no argument for is written into the container's
configuration, a file below the root ``containers``.
"""

from __future__ import annotations

from ..sdk.backend import BackendExtension
from ..sdk.errors import HostError, NotFound, PluginError, Unsupported

ROOT = "containers"
MARK = "lxc.group = nexcage-"  # of a container's groups LXC itself makes no use but to start some with the machine
STATUS = {"RUNNING": "running", "STARTING": "running", "FROZEN": "paused", "FREEZING": "paused", "THAWED": "running"}
NOT_RUNNING = 2  # lxc-stop(1)
PATIENCE = 290  # seconds for a stop; what is left of a command's 300 is for LXC itself
UNLIMITED = -1
PERIOD = 100000  # microseconds that a quota of processor time is for
MEMORY = {"lxc.cgroup.memory.limit_in_bytes": "memory.limit_in_bytes", "lxc.cgroup2.memory.max": "memory.max"}
NETWORKS = {"none": "empty", "host": "none"}  # in LXC "none" means that of the host


class Backend(BackendExtension):
    """Each operation gets the host and its parameters."""

    name = "lxc-backend"

    def check(self, host, params):
        """What LXC would refuse only once it was too late."""
        spec = params["spec"]
        if not spec.get("command"):
            raise PluginError("LXC does not know what to run, as it makes nothing of an image's own command", "E_INVALID", "give command")
        if (spec.get("stop_timeout") or 0) > PATIENCE:
            raise Unsupported(f"a command may take 300 seconds, and stop_timeout more than {PATIENCE} of them is too long", "give less")
        _configuration(spec, "", "")
        if spec.get("image"):
            host.image.resolve(spec["image"], "always")

    def create(self, host, params):
        name = params["name"]
        host.fs.write(ROOT, f"{name}.conf", _configuration(params["spec"], params["mark"], self.config["apparmor_profile"]))
        _run(host, "create", {"name": name})
        _put(host, name, _inside(params["spec"]))  # the template had its own words for these
        host.fs.remove(ROOT, f"{name}.conf")
        return {"id": name}

    def start(self, host, params):
        _run(host, "start", {"name": params["name"]})

    def stop(self, host, params):
        name = params["name"]
        found = _record(host, name)
        if found is None or found["status"] == "stopped":
            return
        if found["status"] == "paused":  # what is frozen hears no signal
            _run(host, "resume", {"name": name})
        seconds = 10 if params.get("timeout") is None else params["timeout"]
        if params.get("force") or not seconds:
            _run(host, "kill", {"name": name}, NOT_RUNNING)
        else:
            _run(host, "stop", {"name": name, "seconds": seconds}, NOT_RUNNING)

    def delete(self, host, params):
        name = params["name"]
        if _text(host, name) is not None:
            _run(host, "delete", {"name": name})
        host.fs.remove(ROOT, f"{name}.conf")

    def update(self, host, params):
        """Now, where it runs, and in the file for the next time."""
        name, changes, spec = params["name"], params["changes"], params["spec"]
        _put(host, name, _limits(spec))
        found = _record(host, name)
        if found is None or found["status"] == "stopped":
            return
        key = _memory_key(host, name) if "memory" in changes else ""
        if changes.get("pids_limit") == UNLIMITED:
            _run(host, "unlimit", {"name": name, "key": "pids.max"})
        elif "pids_limit" in changes:
            _run(host, "set_pids", {"name": name})
        if key and changes["memory"] != UNLIMITED:
            _run(host, "set_memory", {"name": name, "key": key})
        elif key == "memory.max":
            _run(host, "unlimit", {"name": name, "key": key})
        elif key:
            _run(host, "unlimit_memory", {"name": name})

    def pause(self, host, params):
        _run(host, "pause", {"name": params["name"]})

    def resume(self, host, params):
        _run(host, "resume", {"name": params["name"]})

    def list(self, host, params):
        names = params.get("names")
        listed = _run(host, "list")["stdout"].split() if names is None else names
        found = [_record(host, name, observe=names is not None) for name in listed]
        return [record for record in found if record is not None]

    def info(self, host, params):
        found = _record(host, params["name"], observe=True)
        if found is None:
            raise PluginError(f"LXC has no container {params['name']}", "E_NOT_FOUND")
        return found

    def exec(self, host, params):
        """The broker keeps what the process printed."""
        for option in ("user", "working_dir", "secret_env"):
            if params.get(option):
                raise Unsupported(f"lxc-attach has no {option}", f"leave {option} out")
        return {"rc": host.command.run("exec", {"name": params["name"]})["rc"]}

    def health(self, host, params):
        try:
            version = _run(host, "version")["stdout"].strip()
            host.fs.stat(ROOT)
        except (HostError, PluginError) as error:
            return {"status": "unhealthy", "problems": [error.message]}
        problems = [] if self.config.get(ROOT) == "/var/lib/lxc" else ["LXC's programs look in /var/lib/lxc, and the setting containers says otherwise"]
        return {"status": "unhealthy" if problems else "healthy", "problems": problems, "version": version}


def _run(host, command, values=None, *accepted):
    """A command that must succeed."""
    answer = host.command.run(command, values or {})
    if answer["rc"] not in (0, *accepted):
        lines = [line for line in (answer["stderr"] + answer["stdout"]).splitlines() if line.strip()] or [f"it ended with {answer['rc']}"]
        raise PluginError(f"lxc {command}: {lines[0]}", "E_RUNTIME")
    return answer


def _text(host, name):
    """The configuration of a container, ``None`` where there is no such container."""
    try:
        return host.fs.read(ROOT, f"{name}/config")
    except NotFound:
        return None


def _record(host, name, observe=False):
    text = _text(host, name)
    if text is None:
        return None
    facts = dict(line.split(":", 1) for line in _run(host, "info", {"name": name})["stdout"].splitlines() if ":" in line)
    marks = [line[len(MARK) :] for line in text.splitlines() if line.startswith(MARK)]
    status = STATUS.get(facts["State"].strip(), "stopped")
    record = {"name": name, "id": name, "status": status, "mark": marks[0] if marks else None, "pid": int(facts.get("PID", "0").strip() or 0)}
    if observe and status != "stopped":
        record["observed"] = _observed(host, name, text)
    return record


def _observed(host, name, text):
    """The limits that are set, as the kernel has them."""
    found = {}
    if any(key in text for key in MEMORY):
        found["memory"] = _number(_run(host, "read_limit", {"name": name, "key": _memory_key(host, name)})["stdout"])
    if "lxc.cgroup.pids.max" in text:
        found["pids_limit"] = _number(_run(host, "read_limit", {"name": name, "key": "pids.max"})["stdout"])
    return found


def _number(text):
    """A limit; unlimited memory is, in the first version of cgroups, a number that no machine has."""
    value = text.strip()
    return UNLIMITED if value == "max" or int(value) >= 1 << 62 else int(value)


def _memory_key(host, name):
    """What this host's version of cgroups calls the limit."""
    new = host.command.run("read_limit", {"name": name, "key": "memory.max"})
    return "memory.max" if new["rc"] == 0 and new["stdout"].strip() else "memory.limit_in_bytes"


def _configuration(spec, mark, profile):
    """The container's configuration file, as far as it is ours."""
    lines = [MARK + mark, f"lxc.net.0.type = {NETWORKS[spec.get('network_mode') or 'none']}", f"lxc.signal.halt = {spec.get('stop_signal') or 15}"]
    lines += [f"lxc.environment = {name}={value}" for name, value in (spec.get("env") or {}).items()]
    if profile:
        lines.append(f"lxc.apparmor.profile = {profile}")
    lines += [*_inside(spec), *_limits(spec)]
    for line in lines:
        if "\n" in line or "\r" in line:
            raise Unsupported(f"a value of more than one line has no place in LXC's configuration: {line.split(' = ')[0]}", "write it in one line")
    return "".join(line + "\n" for line in lines)


def _inside(spec):
    keys = (("hostname", "lxc.uts.name"), ("working_dir", "lxc.init.cwd"))
    return [f"{key} = {spec[option]}" for option, key in keys if spec.get(option)]


def _put(host, name, lines):
    """Let lines stand in a container's configuration in place of those with the same keys."""
    new = {line.split(" = ", 1)[0] for line in lines}
    kept = [line for line in (_text(host, name) or "").splitlines() if line.split(" = ", 1)[0] not in new]
    host.fs.write(ROOT, f"{name}/config", "".join(line + "\n" for line in (*kept, *lines)))


def _limits(spec):
    """Each limit in the words of both versions of cgroups; LXC takes those of the host's."""
    lines = []
    if spec.get("memory") is not None:
        lines += [f"lxc.cgroup.memory.limit_in_bytes = {spec['memory']}", f"lxc.cgroup2.memory.max = {_or_max(spec['memory'])}"]
    if spec.get("pids_limit") is not None:
        lines += [f"lxc.cgroup{version}.pids.max = {_or_max(spec['pids_limit'])}" for version in ("", "2")]
    if spec.get("cpus") is not None:
        lines += [f"lxc.cgroup.cpu.cfs_quota_us = {spec['cpus']}", f"lxc.cgroup2.cpu.max = {_or_max(spec['cpus'])} {PERIOD}"]
    if spec.get("cpu_shares") is not None:
        # from 2..262144 to 1..10000, as the OCI runtimes do
        weight = 1 + (spec["cpu_shares"] - 2) * 9999 // 262142
        lines += [f"lxc.cgroup.cpu.shares = {spec['cpu_shares']}", f"lxc.cgroup2.cpu.weight = {weight}"]
    if spec.get("cpuset_cpus") is not None:
        lines += [f"lxc.cgroup{version}.cpuset.cpus = {spec['cpuset_cpus']}" for version in ("", "2")]
    return lines


def _or_max(number):
    return "max" if number == UNLIMITED else number


def backend():
    """What the worker asks for."""
    return Backend()
