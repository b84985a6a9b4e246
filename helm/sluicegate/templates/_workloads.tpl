{{- /* The kinds of workloads. Each takes what sluicegate.complete gives, and root. */ -}}

{{- /* Each pod keeps its name, and with it its transactional ids. */ -}}
{{- define "sluicegate.workload.StatefulSet" }}
{{- include "sluicegate.service" . }}
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ include "sluicegate.name" . }}
  labels:
    {{- include "sluicegate.labels" . | nindent 4 }}
spec:
  serviceName: {{ include "sluicegate.name" . }}
  {{- if not .values.autoscaling.enabled }}
  replicas: {{ int .values.replicas }}
  {{- end }}
  # Pods do not wait for one another: one that is not ready (a neighbour is away) holds no other up.
  podManagementPolicy: Parallel
  {{- with .values.strategy }}
  updateStrategy:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "sluicegate.selector" . | nindent 6 }}
  template:
    {{- include "sluicegate.pod" . | nindent 4 }}
{{- include "sluicegate.pdb" . }}
{{- include "sluicegate.hpa" . }}
{{- end -}}

{{- define "sluicegate.workload.Deployment" }}
{{- $one := and (include "sluicegate.claim" .) (not (has "ReadWriteMany" (.values.storage | default dict).accessModes)) }}
{{- include "sluicegate.service" . }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "sluicegate.name" . }}
  labels:
    {{- include "sluicegate.labels" . | nindent 4 }}
spec:
  {{- if not .values.autoscaling.enabled }}
  replicas: {{ int .values.replicas }}
  {{- end }}
  strategy:
    {{- toYaml (.values.strategy | default (dict "type" (ternary "Recreate" "RollingUpdate" (not (empty $one))))) | nindent 4 }}
  selector:
    matchLabels:
      {{- include "sluicegate.selector" . | nindent 6 }}
  template:
    {{- include "sluicegate.pod" . | nindent 4 }}
{{- include "sluicegate.claimObject" . }}
{{- include "sluicegate.pdb" . }}
{{- include "sluicegate.hpa" . }}
{{- end -}}

{{- define "sluicegate.workload.CronJob" }}
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {{ include "sluicegate.name" . }}
  labels:
    {{- include "sluicegate.labels" . | nindent 4 }}
spec:
  schedule: {{ .values.schedule | quote }}
  {{- with .values.timeZone }}
  timeZone: {{ . }}
  {{- end }}
  suspend: {{ .values.suspend }}
  # The next run takes over what a late one has left; two at once would only ask the API twice as hard.
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 300
  successfulJobsHistoryLimit: 3
  failedJobsHistoryLimit: 3
  jobTemplate:
    spec:
      parallelism: {{ int .values.replicas }}
      completions: {{ int .values.replicas }}
      {{- include "sluicegate.jobLimits" . | nindent 6 }}
      template:
        {{- include "sluicegate.pod" . | nindent 8 }}
{{- end -}}

{{- /* A Job cannot be changed, so its name carries what it is made of. */ -}}
{{- define "sluicegate.workload.Job" }}
{{- $pod := include "sluicegate.pod" . }}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ include "sluicegate.name" . }}-{{ $pod | sha256sum | trunc 8 }}
  labels:
    {{- include "sluicegate.labels" . | nindent 4 }}
spec:
  {{- include "sluicegate.jobLimits" . | nindent 2 }}
  template:
    {{- $pod | nindent 4 }}
{{- end -}}

{{- define "sluicegate.jobLimits" -}}
backoffLimit: {{ int .values.backoffLimit }}
{{- with .values.activeDeadlineSeconds }}
activeDeadlineSeconds: {{ int . }}
{{- end }}
podFailurePolicy:
  {{- if .values.podFailurePolicy }}
  {{- toYaml .values.podFailurePolicy | nindent 2 }}
  {{- else }}
  rules:
    # 1: refused, or something was found. 64: a mistake in the configuration. Neither goes away by itself.
    - action: FailJob
      onExitCodes: {containerName: sluice, operator: In, values: [1, 64]}
    # A node that is drained is no failure of the worker.
    - action: Ignore
      onPodConditions: [{type: DisruptionTarget, status: "True"}]
  {{- end }}
{{- end -}}
