{{- /*
All workloads of one worker. A worker's template is one line: {{ include "sluicegate.worker" (dict "root" . "worker" "masker") }}
What is known of the worker stands in files/workers.json, which helm/generate_values_schema.py writes.
*/ -}}
{{- define "sluicegate.worker" -}}
{{- range (include "sluicegate.workloads" . | fromJson).list }}
{{- $all := include "sluicegate.complete" (dict "root" $.root "workload" .) | fromJson }}
{{- $_ := set $all "root" $.root }}
{{- include "sluicegate.configMap" $all }}
{{- include "sluicegate.ownContracts" $all }}
{{- include "sluicegate.serviceAccount" $all }}
{{- include (printf "sluicegate.workload.%s" .kind) $all }}
{{- include "sluicegate.networkPolicy" $all }}
{{- end }}
{{- end -}}

{{- /* The workloads of a worker that are switched on, as JSON: {list: [{worker, entry, where, component, kind, facts, values}]}. */ -}}
{{- define "sluicegate.workloads" -}}
{{- $facts := index (.root.Files.Get "files/workers.json" | fromJson) .worker -}}
{{- $defaults := index .root.Values $facts.defaults -}}
{{- $entries := dict -}}
{{- if $facts.many -}}
{{- $entries = index .root.Values $facts.many | default dict -}}
{{- end -}}
{{- $list := list -}}
{{- range $entry, $own := $entries -}}
{{- $values := mergeOverwrite (deepCopy $defaults) (deepCopy ($own | default dict)) -}}
{{- $list = append $list (dict "entry" $entry "values" $values "where" (printf "%s.%s" $facts.many $entry) "component" (printf "%s-%s" $.worker $entry)) -}}
{{- end -}}
{{- if and $facts.alone (not $entries) -}}
{{- $list = append $list (dict "entry" .worker "values" $defaults "where" $facts.defaults "component" .worker) -}}
{{- end -}}
{{- $on := list -}}
{{- range $list -}}
{{- if .values.enabled -}}
{{- $on = append $on (mergeOverwrite . (dict "worker" $.worker "facts" $facts "kind" (.values.kind | default (first $facts.kinds)))) -}}
{{- end -}}
{{- end -}}
{{- dict "list" $on | toJson -}}
{{- end -}}

{{- /* The workloads of all workers, as JSON. Takes the root. */ -}}
{{- define "sluicegate.allWorkloads" -}}
{{- $list := list -}}
{{- range $worker, $_ := .Files.Get "files/workers.json" | fromJson -}}
{{- $list = concat $list (include "sluicegate.workloads" (dict "root" $ "worker" $worker) | fromJson).list -}}
{{- end -}}
{{- dict "list" ($list | default list) | toJson -}}
{{- end -}}

{{- /*
Everything that the templates of a workload's objects need, as JSON:
  worker, entry, where, component, kind, facts, values   as in sluicegate.workloads
  pod         the values for its pods
  account     the values of its service account
  contracts   where its contracts are
  file        its file, as a map; and text, the same as YAML
  secrets     Secret → list of its keys that are mounted; an empty list mounts all
  rackFromZone, once, args, probes
*/ -}}
{{- define "sluicegate.complete" -}}
{{- $all := .workload -}}
{{- $_ := set $all "pod" (mergeOverwrite (deepCopy .root.Values.pod) (deepCopy $all.values.pod)) -}}
{{- $_ := set $all "account" (mergeOverwrite (deepCopy .root.Values.serviceAccount) (deepCopy $all.values.serviceAccount)) -}}
{{- if and .root.Values.serviceAccount.create .root.Values.serviceAccount.name -}}
{{- fail "serviceAccount.name: with create: true each worker has an account of its own; set it at the worker, for example masker.serviceAccount.name" -}}
{{- end -}}
{{- $_ := set $all "contracts" (include "sluicegate.contracts" (dict "root" .root "workload" $all) | fromJson) -}}

{{- /* Its file: first what the chart writes, then what the values say; secrets become paths. */ -}}
{{- $file := include "sluicegate.file" (dict "root" .root "workload" $all) | fromJson -}}
{{- $_ := set $all "rackFromZone" $file.rackFromZone -}}
{{- $secrets := dict -}}
{{- $_ := set $all "file" (include "sluicegate.resolve" (dict "value" $file.file "secrets" $secrets) | fromJson).value -}}
{{- range concat .root.Values.secretMounts $all.values.secretMounts -}}
{{- $_ := set $secrets . list -}}
{{- end -}}
{{- $_ := set $all "secrets" $secrets -}}
{{- $_ := set $all "text" (toYaml $all.file) -}}

{{- /* How it runs. */ -}}
{{- $_ := set $all "once" (has $all.kind (list "Job" "CronJob")) -}}
{{- $_ := set $all "probes" (ne $all.kind "Job") -}}
{{- $args := concat $all.facts.args (list "-c" "/etc/sluicegate/config/worker.yaml") -}}
{{- if $all.once -}}
{{- $args = concat $args ($all.facts.once | default list) -}}
{{- end -}}
{{- $_ := set $all "args" $args -}}
{{- include "sluicegate.check" $all -}}
{{- $all | toJson -}}
{{- end -}}

{{- /* What the schema of the values cannot say. */ -}}
{{- define "sluicegate.check" -}}
{{- $many := or (gt (int (.values.replicas | default 1)) 1) (and .values.autoscaling .values.autoscaling.enabled (ne .kind "CronJob")) -}}
{{- if and (eq .kind "CronJob") .values.autoscaling.enabled -}}
{{- fail (printf "%s: a CronJob is not autoscaled; set kind: Deployment or autoscaling.enabled: false" .where) -}}
{{- end -}}
{{- if and $many .file.instance -}}
{{- fail (printf "%s.config.instance: two pods may not share an instance; leave it out, or set replicas: 1" .where) -}}
{{- end -}}
{{- $grace := int .pod.terminationGracePeriodSeconds -}}
{{- $drain := int ((.file.limits | default dict).drain_seconds | default 0) -}}
{{- if ge $drain $grace -}}
{{- fail (printf "%s.config.limits.drain_seconds: %d is not below pod.terminationGracePeriodSeconds, %d: Kubernetes would kill the worker before it has drained" .where $drain $grace) -}}
{{- end -}}
{{- if eq (.facts.storage | default "") "own" -}}
{{- if and $many .values.storage.enabled (not .values.storage.existingClaim) (not (has "ReadWriteMany" .values.storage.accessModes)) -}}
{{- fail (printf "%s: several pods write to one volume: add ReadWriteMany to storage.accessModes, or name a claim that has it in storage.existingClaim" .where) -}}
{{- end -}}
{{- end -}}
{{- end -}}
