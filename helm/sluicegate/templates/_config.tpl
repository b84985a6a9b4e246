{{- /* The workers' files, in the keys of their RawConfig. Each takes {root, component, worker} and gives YAML. */ -}}

{{- define "sluicegate.secrets" -}}/run/secrets/sluicegate{{- end -}}

{{- define "sluicegate.schemas" -}}
{{- if or .Values.contracts.files .Values.contracts.volume -}}
/etc/sluicegate/schemas
{{- else -}}
{{ .Values.contracts.imagePath }}
{{- end -}}
{{- end -}}

{{- /* kafka, registry, schemas */ -}}
{{- define "sluicegate.config.servers" -}}
{{- $kafka := dict "brokers" .root.Values.kafka.brokers -}}
{{- $own := get .root.Values.kafka.workers .component | default dict -}}
{{- with merge (deepCopy ($own.properties | default dict)) .root.Values.kafka.properties -}}
{{- $_ := set $kafka "properties" . -}}
{{- end -}}
{{- with merge (deepCopy ($own.secrets | default dict)) .root.Values.kafka.secrets -}}
{{- $secrets := dict -}}
{{- range $property, $key := . -}}
{{- $_ := set $secrets $property (dict "file" (printf "%s/kafka/%s" (include "sluicegate.secrets" $) $key)) -}}
{{- end -}}
{{- $_ := set $kafka "secrets" $secrets -}}
{{- end -}}
{{- $registry := dict "url" .root.Values.registry.url -}}
{{- if .root.Values.registry.existingSecret -}}
{{- $_ := set $registry "token" (dict "file" (printf "%s/registry/%s" (include "sluicegate.secrets" .) .root.Values.registry.tokenKey)) -}}
{{- end -}}
{{- toYaml (dict "kafka" $kafka "registry" $registry "schemas" (include "sluicegate.schemas" .root)) -}}
{{- end -}}

{{- /* and admin */ -}}
{{- define "sluicegate.config.common" -}}
{{- $config := include "sluicegate.config.servers" . | fromYaml -}}
{{- $_ := set $config "admin" (dict "listen" (printf "0.0.0.0:%d" (int .root.Values.admin.port))) -}}
{{- toYaml $config -}}
{{- end -}}

{{- define "sluicegate.config.apply" -}}
{{- $config := include "sluicegate.config.servers" . | fromYaml -}}
{{- with .worker.replication -}}
{{- $_ := set $config "replication" (int .) -}}
{{- end -}}
{{- with .worker.access -}}
{{- $_ := set $config "access" . -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- define "sluicegate.config.masker" -}}
{{- $keys := dict -}}
{{- range $name, $epochs := .worker.keys.names -}}
{{- $files := dict -}}
{{- range $epoch, $key := $epochs -}}
{{- $_ := set $files $epoch (dict "file" (printf "%s/masking/%s" (include "sluicegate.secrets" $) $key)) -}}
{{- end -}}
{{- $_ := set $keys $name $files -}}
{{- end -}}
{{- toYaml (merge (dict "keys" $keys) (deepCopy .worker.config) (include "sluicegate.config.common" . | fromYaml)) -}}
{{- end -}}

{{- define "sluicegate.config.normaliser" -}}
{{- toYaml (merge (deepCopy .worker.config) (include "sluicegate.config.common" . | fromYaml)) -}}
{{- end -}}

{{- define "sluicegate.config.sink-archive" -}}
{{- $store := merge (dict "path" "/data/archive") (deepCopy .worker.store) -}}
{{- toYaml (merge (dict "stores" (list (dict "archive" $store))) (deepCopy .worker.config) (include "sluicegate.config.common" . | fromYaml)) -}}
{{- end -}}

{{- define "sluicegate.config.sink-delta" -}}
{{- $store := merge (dict "path" "/data/lake") (deepCopy .worker.store) -}}
{{- toYaml (merge (dict "stores" (list (dict "delta" $store))) (deepCopy .worker.config) (include "sluicegate.config.common" . | fromYaml)) -}}
{{- end -}}

{{- define "sluicegate.config.collector" -}}
{{- $file := include "sluicegate.secrets" . -}}
{{- $config := merge (dict "job" (.worker.config.job | default .job)) (deepCopy .worker.config) (dict "group" "collector") (include "sluicegate.config.common" . | fromYaml) -}}
{{- $_ := set $config.database "url" (dict "file" (printf "%s/database/%s" $file .worker.databaseUrl.key)) -}}
{{- with .worker.apiAuth -}}
{{- $secret := dict "file" (printf "%s/api/%s" $file .key) -}}
{{- if eq .kind "bearer" -}}
{{- $_ := set $config.api "auth" (dict "bearer" $secret) -}}
{{- else if eq .kind "basic" -}}
{{- $_ := set $config.api "auth" (dict "basic" (dict "user" .user "password" $secret)) -}}
{{- else if eq .kind "header" -}}
{{- $_ := set $config.api "auth" (dict "header" (dict "name" .header "value" $secret)) -}}
{{- else if eq .kind "query" -}}
{{- $_ := set $config.api "auth" (dict "query" (dict "name" .header "value" $secret)) -}}
{{- else if eq .kind "oauth2" -}}
{{- $_ := set $config.api "auth" (dict "oauth2" (merge (dict "client_secret" $secret "client_id" .user) (deepCopy (.settings | default dict)))) -}}
{{- else if eq .kind "hmac" -}}
{{- $_ := set $config.api "auth" (dict "hmac" (merge (dict "secret" $secret) (deepCopy (.settings | default dict)))) -}}
{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}
