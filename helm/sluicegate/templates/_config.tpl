{{- /* A worker's file, and where its contracts are. */ -}}

{{- /* Where a workload's contracts are, as JSON: {files, volume, path, name of the ConfigMap}. */ -}}
{{- define "sluicegate.contracts" -}}
{{- $from := .workload.values.contracts -}}
{{- $own := or $from.files $from.volume $from.imagePath -}}
{{- if not $own -}}
{{- $from = .root.Values.contracts -}}
{{- end -}}
{{- $given := list -}}
{{- range list "files" "volume" "imagePath" -}}
{{- if index $from . -}}
{{- $given = append $given . -}}
{{- end -}}
{{- end -}}
{{- if not $given -}}
{{- fail (printf "no contracts for %s: give one of contracts.files (path → text, a ConfigMap of the chart), contracts.volume (any volume that holds <domain>/<topic>/), contracts.imagePath (a folder of your image; /usr/share/sluicegate/schemas holds the demo's contracts)" .workload.where) -}}
{{- end -}}
{{- if gt (len $given) 1 -}}
{{- fail (printf "contracts: %s are given; give one" (join " and " $given)) -}}
{{- end -}}
{{- $mounted := or $from.files $from.volume -}}
{{- $component := ternary (printf "%s-contracts" .workload.component) "contracts" (not (empty $own)) -}}
{{- dict "files" $from.files "volume" $from.volume "path" (ternary "/etc/sluicegate/schemas" $from.imagePath (not (empty $mounted))) "own" (not (empty $own)) "component" $component | toJson -}}
{{- end -}}

{{- /* The file with secrets as they are in the values, as JSON: {file, rackFromZone}. */ -}}
{{- define "sluicegate.file" -}}
{{- $load := .workload -}}
{{- $file := dict -}}
{{- range $load.facts.sections -}}
{{- $_ := set $file . (deepCopy (index $.root.Values .)) -}}
{{- end -}}
{{- if has "schemas" $load.facts.accepts -}}
{{- $_ := set $file "schemas" $load.contracts.path -}}
{{- end -}}
{{- if has "admin" $load.facts.accepts -}}
{{- $_ := set $file "admin" (dict "listen" (printf "0.0.0.0:%d" (int .root.Values.admin.port))) -}}
{{- end -}}
{{- range $key, $from := $load.facts.fill | default dict -}}
{{- $_ := set $file $key (index $load $from) -}}
{{- end -}}
{{- $file = mergeOverwrite $file (deepCopy ($load.values.config | default dict)) -}}

{{- /* client.rack, unless the values say it; a Job reads no records. */ -}}
{{- $rackFromZone := false -}}
{{- with ternary nil $file.kafka (eq $load.kind "Job") -}}
{{- $properties := .properties | default dict -}}
{{- $secrets := .secrets | default dict -}}
{{- if not (or (hasKey $properties "client.rack") (hasKey $secrets "client.rack")) -}}
{{- if $.root.Values.rack.value -}}
{{- $_ := set . "properties" (set $properties "client.rack" $.root.Values.rack.value) -}}
{{- else if $.root.Values.rack.fromZone -}}
{{- $_ := set . "secrets" (set $secrets "client.rack" (dict "env" "SLUICE_RACK")) -}}
{{- $rackFromZone = true -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* What the worker needs. */ -}}
{{- range $need := $load.facts.required -}}
{{- $at := $file -}}
{{- $there := true -}}
{{- range initial $need.path -}}
{{- $part := get $at . -}}
{{- $there = and $there (kindIs "map" $part) -}}
{{- $at = ternary $part dict (kindIs "map" $part) -}}
{{- end -}}
{{- $last := last $need.path -}}
{{- if and $there (or (not (hasKey $at $last)) (kindIs "invalid" (get $at $last)) (eq (toString (get $at $last)) "")) -}}
{{- $where := ternary (join "." $need.path) (printf "%s.config.%s" $load.where (join "." $need.path)) (has (first $need.path) $load.facts.sections) -}}
{{- fail (printf "%s is missing: %s" $where $need.about) -}}
{{- end -}}
{{- end -}}
{{- dict "file" $file "rackFromZone" $rackFromZone | toJson -}}
{{- end -}}

{{- /*
A value with each {secretKeyRef: {name, key}} replaced by {file: path}, as JSON: {value}. Adds to `secrets` which keys of
which Secrets are mounted.
*/ -}}
{{- define "sluicegate.resolve" -}}
{{- $value := .value -}}
{{- if and (kindIs "map" $value) (hasKey $value "secretKeyRef") -}}
{{- with $value.secretKeyRef -}}
{{- $_ := set $.secrets .name (append (get $.secrets .name | default list) .key | uniq) -}}
{{- $value = dict "file" (printf "/run/secrets/sluicegate/%s/%s" .name .key) -}}
{{- end -}}
{{- else if kindIs "map" $value -}}
{{- $new := dict -}}
{{- range $key, $part := $value -}}
{{- $_ := set $new $key (include "sluicegate.resolve" (dict "value" $part "secrets" $.secrets) | fromJson).value -}}
{{- end -}}
{{- $value = $new -}}
{{- else if kindIs "slice" $value -}}
{{- $new := list -}}
{{- range $part := $value -}}
{{- $new = append $new (include "sluicegate.resolve" (dict "value" $part "secrets" $.secrets) | fromJson).value -}}
{{- end -}}
{{- $value = $new -}}
{{- end -}}
{{- dict "value" $value | toJson -}}
{{- end -}}
