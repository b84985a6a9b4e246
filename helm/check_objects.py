"""What every workload of the chart has, in all rendered examples.

Usage: check_objects.py RENDERED...
Each pod has an account of its own without a token, cannot gain rights, is spread over zones and hosts, and has a network
policy that lets nothing in but the admin pages' readers that the values name. A Job does not repeat the exit codes 1 and
64. Workers that read from Kafka say where they are (client.rack). Exit 1 with every mistake.
"""

import pathlib
import sys

import yaml

SPREAD = ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
FINAL_CODES = {"containerName": "sluice", "operator": "In", "values": [1, 64]}


def workloads_of(manifests: list) -> list:
    """(manifest, spec of the pods, spec of the Job or None) of each workload."""
    found = []
    for manifest in manifests:
        match manifest["kind"]:
            case "Deployment" | "StatefulSet":
                found.append((manifest, manifest["spec"]["template"]["spec"], None))
            case "Job":
                found.append((manifest, manifest["spec"]["template"]["spec"], manifest["spec"]))
            case "CronJob":
                job = manifest["spec"]["jobTemplate"]["spec"]
                found.append((manifest, job["template"]["spec"], job))
    return found


def check_pod(pod: dict) -> list:
    """What is wrong with the pods of a workload."""
    wrong = []
    if pod["automountServiceAccountToken"] is not False:
        wrong.append("the account's token is mounted")
    keys = [spread["topologyKey"] for spread in pod["topologySpreadConstraints"]]
    # Where the values have constraints of their own, these are taken.
    own = any(spread["whenUnsatisfiable"] != "ScheduleAnyway" for spread in pod["topologySpreadConstraints"])
    if keys != SPREAD and not own:
        wrong.append(f"spread over {keys}, expected {SPREAD}")
    if not pod["securityContext"]["runAsNonRoot"]:
        wrong.append("runs as root")
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        context = container["securityContext"]
        if context["allowPrivilegeEscalation"] or not context["readOnlyRootFilesystem"] or context["capabilities"] != {"drop": ["ALL"]}:
            wrong.append(f"container {container['name']} is not closed: {context}")
    return wrong


def check_job(job: dict, pod: dict) -> list:
    """What is wrong with the repeats of a Job."""
    rules = job["podFailurePolicy"]["rules"]
    final = any(rule["action"] == "FailJob" and rule.get("onExitCodes") == FINAL_CODES for rule in rules)
    # A policy needs pods that are not restarted in place.
    return [] if final and pod["restartPolicy"] == "Never" else ["exit codes 1 and 64 are repeated"]


def check_rack(file: dict, pod: dict) -> list:
    """Whether the worker says in which zone it is."""
    kafka = file["kafka"]
    rack = kafka.get("properties", {}).get("client.rack") or kafka.get("secrets", {}).get("client.rack")
    names = [variable["name"] for variable in pod["containers"][0]["env"]]
    if not rack or rack == {"env": "SLUICE_RACK"} and "SLUICE_RACK" not in names:
        return ["no client.rack"]
    return []


def check(manifests: list) -> tuple[int, list]:
    """The number of workloads, and what is wrong with them."""
    by_name = {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in manifests}
    accounts, wrong = [], []
    workloads = workloads_of(manifests)
    for manifest, pod, job in workloads:
        labels = manifest["metadata"]["labels"]
        component = labels["app.kubernetes.io/component"]
        prefix = manifest["metadata"]["name"].split(f"-{component}")[0]
        name = f"{prefix}-{component}"

        here = check_pod(pod) + (check_job(job, pod) if job else [])
        if ("ServiceAccount", pod["serviceAccountName"]) not in by_name or pod["serviceAccountName"] in accounts:
            here.append(f"the account {pod['serviceAccountName']} is not its own")
        accounts.append(pod["serviceAccountName"])
        policy = by_name.get(("NetworkPolicy", name))
        if not policy or set(policy["spec"]["policyTypes"]) != {"Ingress", "Egress"}:
            here.append("no network policy for both ways")
        elif any(not rule.get("from") for rule in policy["spec"]["ingress"]):
            here.append("its admin pages are open to all pods")
        if manifest["kind"] != "Job":
            here += check_rack(yaml.safe_load(by_name["ConfigMap", name]["data"]["worker.yaml"]), pod)
        wrong += [f"{manifest['kind']} {manifest['metadata']['name']}: {mistake}" for mistake in here]
    return len(workloads), wrong


def main() -> int:
    count, mistakes = 0, 0
    for path in map(pathlib.Path, sys.argv[1:]):
        found, wrong = check([manifest for manifest in yaml.safe_load_all(path.read_text()) if manifest])
        count, mistakes = count + found, mistakes + len(wrong)
        for mistake in wrong:
            print(f"helm: {path.name}: {mistake}", file=sys.stderr)
    print(f"helm: {count} workloads: accounts, rights, spread, network, rack and repeats looked at, {mistakes} mistakes")
    return 1 if mistakes or not count else 0


if __name__ == "__main__":
    sys.exit(main())
