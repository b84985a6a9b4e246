{{- /* A worker with a stable name for each pod: its transactional ids. Takes what sluicegate.pod takes. */ -}}
{{- define "sluicegate.statefulSet" }}
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ include "sluicegate.name" . }}
  labels:
    {{- include "sluicegate.labels" . | nindent 4 }}
spec:
  serviceName: {{ include "sluicegate.name" . }}
  {{- if not .worker.autoscaling.enabled }}
  replicas: {{ .worker.replicas }}
  {{- end }}
  # Pods do not wait for one another: one that is not ready (a neighbour is away) holds no other up.
  podManagementPolicy: Parallel
  selector:
    matchLabels:
      {{- include "sluicegate.selector" . | nindent 6 }}
  template:
    {{- include "sluicegate.pod" . | nindent 4 }}
{{- end -}}

{{- define "sluicegate.deployment" }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "sluicegate.name" . }}
  labels:
    {{- include "sluicegate.labels" . | nindent 4 }}
spec:
  {{- if not .worker.autoscaling.enabled }}
  replicas: {{ .worker.replicas }}
  {{- end }}
  strategy:
    type: {{ .strategy | default "RollingUpdate" }}
  selector:
    matchLabels:
      {{- include "sluicegate.selector" . | nindent 6 }}
  template:
    {{- include "sluicegate.pod" . | nindent 4 }}
{{- end -}}

{{- define "sluicegate.cronJob" }}
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {{ include "sluicegate.name" . }}
  labels:
    {{- include "sluicegate.labels" . | nindent 4 }}
spec:
  schedule: {{ .worker.schedule | quote }}
  {{- with .worker.timeZone }}
  timeZone: {{ . }}
  {{- end }}
  suspend: {{ .worker.suspend }}
  # The next run takes over what a late one has left; two at once would only ask the API twice as hard.
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 300
  successfulJobsHistoryLimit: 3
  failedJobsHistoryLimit: 3
  jobTemplate:
    spec:
      parallelism: {{ .worker.replicas }}
      completions: {{ .worker.replicas }}
      backoffLimit: 3
      {{- with .worker.activeDeadlineSeconds }}
      activeDeadlineSeconds: {{ int . }}
      {{- end }}
      template:
        {{- include "sluicegate.pod" . | nindent 8 }}
{{- end -}}

{{- /* A sink: one volume that all its pods write to. */ -}}
{{- define "sluicegate.sink" }}
{{- $many := has "ReadWriteMany" .worker.storage.accessModes }}
{{- if and (not $many) (not .worker.storage.existingClaim) (or (gt (int .worker.replicas) 1) .worker.autoscaling.enabled) }}
{{- fail (printf "%s: several pods write to one volume: add ReadWriteMany to storage.accessModes, or name a claim that has it in storage.existingClaim" .component) }}
{{- end }}
{{- $claim := .worker.storage.existingClaim | default (include "sluicegate.name" .) }}
{{- $config := include (printf "sluicegate.config.%s" .component) . }}
{{- $secrets := (include "sluicegate.commonSecrets" .root | fromYaml).list }}
{{- $strategy := ternary "RollingUpdate" "Recreate" $many }}
{{- $all := merge (dict "config" $config "args" (list "run" "sink" "-c" "/etc/sluicegate/config/worker.yaml") "secrets" $secrets "data" $claim "probes" true "strategy" $strategy "kind" "Deployment") . }}
{{- include "sluicegate.configMap" $all }}
{{- include "sluicegate.service" $all }}
{{- include "sluicegate.deployment" $all }}
{{- if not .worker.storage.existingClaim }}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ $claim }}
  labels:
    {{- include "sluicegate.labels" . | nindent 4 }}
  annotations:
    # What analysts read is not removed with the release.
    helm.sh/resource-policy: keep
    {{- with .worker.storage.annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  accessModes:
    {{- toYaml .worker.storage.accessModes | nindent 4 }}
  {{- with .worker.storage.storageClassName }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests:
      storage: {{ .worker.storage.size }}
{{- end }}
{{- include "sluicegate.pdb" $all }}
{{- include "sluicegate.hpa" $all }}
{{- include "sluicegate.networkPolicy" $all }}
{{- end -}}

{{- /* A worker that reads topics and writes topics in transactions. Takes {root, component, worker, secrets}. */ -}}
{{- define "sluicegate.transform" }}
{{- $config := include (printf "sluicegate.config.%s" .component) . }}
{{- $secrets := concat .secrets (include "sluicegate.commonSecrets" .root | fromYaml).list }}
{{- $all := merge (dict "config" $config "args" (list "run" .component "-c" "/etc/sluicegate/config/worker.yaml") "secrets" $secrets "probes" true "kind" "StatefulSet") . }}
{{- include "sluicegate.configMap" $all }}
{{- include "sluicegate.service" $all }}
{{- include "sluicegate.statefulSet" $all }}
{{- include "sluicegate.pdb" $all }}
{{- include "sluicegate.hpa" $all }}
{{- include "sluicegate.networkPolicy" $all }}
{{- end -}}
