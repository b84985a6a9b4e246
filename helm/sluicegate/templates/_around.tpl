{{- /* The objects around a workload. Each takes what sluicegate.complete gives, and root. */ -}}

{{- define "sluicegate.configMap" }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "sluicegate.name" . }}
  labels:
    {{- include "sluicegate.labels" . | nindent 4 }}
data:
  worker.yaml: |
    {{- .text | nindent 4 }}
{{- end -}}

{{- define "sluicegate.ownContracts" }}
{{- if and .contracts.own .contracts.files }}
{{- include "sluicegate.contractFiles" (dict "root" .root "component" .contracts.component "files" .contracts.files) }}
{{- end }}
{{- end -}}

{{- /* Contracts in a ConfigMap, which has no folders: aviation/flight/value.avsc is aviation__flight__value.avsc. */ -}}
{{- define "sluicegate.contractFiles" }}
{{- $size := .files | toJson | len }}
{{- if gt $size 1000000 }}
{{- fail (printf "contracts.files: %d bytes are too many for a ConfigMap; use contracts.volume, or give each worker `contracts` of its own" $size) }}
{{- end }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "sluicegate.name" . }}
  labels:
    {{- include "sluicegate.labels" . | nindent 4 }}
data:
  {{- range $path, $text := .files }}
  {{ $path | replace "/" "__" }}: |
    {{- $text | trim | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "sluicegate.serviceAccount" }}
{{- if .account.create }}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "sluicegate.serviceAccountName" . }}
  labels:
    {{- include "sluicegate.labels" . | nindent 4 }}
  {{- with .account.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}
{{- end -}}

{{- /* Headless: names the pods of a StatefulSet, and lets the admin pages be read from each pod, ready or not. */ -}}
{{- define "sluicegate.service" }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ include "sluicegate.name" . }}
  labels:
    {{- include "sluicegate.labels" . | nindent 4 }}
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector:
    {{- include "sluicegate.selector" . | nindent 4 }}
  ports:
    - {name: admin, port: {{ int .root.Values.admin.port }}, targetPort: admin}
{{- end -}}

{{- define "sluicegate.claimObject" }}
{{- if and (include "sluicegate.claim" .) (not .values.storage.existingClaim) }}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ include "sluicegate.claim" . }}
  labels:
    {{- include "sluicegate.labels" . | nindent 4 }}
  annotations:
    # The tables that analysts read are not removed with the release.
    helm.sh/resource-policy: keep
    {{- with .values.storage.annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  accessModes:
    {{- toYaml .values.storage.accessModes | nindent 4 }}
  {{- with .values.storage.storageClassName }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests:
      storage: {{ .values.storage.size }}
{{- end }}
{{- end -}}

{{- define "sluicegate.pdb" }}
{{- if .values.pdb.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "sluicegate.name" . }}
  labels:
    {{- include "sluicegate.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ .values.pdb.maxUnavailable }}
  # A pod that is not ready has nothing that a node's drain could wait for.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "sluicegate.selector" . | nindent 6 }}
{{- end }}
{{- end -}}

{{- define "sluicegate.hpa" }}
{{- with .values.autoscaling }}
{{- if .enabled }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "sluicegate.name" $ }}
  labels:
    {{- include "sluicegate.labels" $ | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: {{ $.kind }}, name: {{ include "sluicegate.name" $ }}}
  minReplicas: {{ int .minReplicas }}
  maxReplicas: {{ int .maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: {type: Utilization, averageUtilization: {{ int .targetCPUUtilizationPercentage }}}
  behavior:
    # Every change of the number of pods is a rebalance.
    scaleDown: {stabilizationWindowSeconds: 600}
{{- end }}
{{- end }}
{{- end -}}

{{- define "sluicegate.networkPolicy" }}
{{- with .root.Values.networkPolicy }}
{{- if .enabled }}
{{- $ports := list }}
{{- range splitList "," ($.file.kafka | default dict).brokers }}
{{- $ports = append $ports (regexFind ":[0-9]+$" (trim .) | trimPrefix ":" | default "9092" | int) }}
{{- end }}
{{- range (include "sluicegate.urls" $.file | fromJson).list }}
{{- $ports = append $ports (include "sluicegate.urlPort" . | int) }}
{{- end }}
{{- range $.values.egressPorts }}
{{- $ports = append $ports (int .) }}
{{- end }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "sluicegate.name" $ }}
  labels:
    {{- include "sluicegate.labels" $ | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "sluicegate.selector" $ | nindent 6 }}
  policyTypes: [Ingress, Egress]
  {{- if and $.probes (or .adminNamespaces .adminFrom) }}
  ingress:
    - ports: [{port: {{ int $.root.Values.admin.port }}, protocol: TCP}]
      from:
        {{- with .adminNamespaces }}
        - namespaceSelector:
            matchExpressions:
              - {key: kubernetes.io/metadata.name, operator: In, values: {{ toJson . }}}
        {{- end }}
        {{- with .adminFrom }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  {{- else }}
  # The kubelet's probes come from the node and are not asked.
  ingress: []
  {{- end }}
  egress:
    - ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
    - ports:
        {{- range $ports | uniq }}
        - {port: {{ . }}, protocol: TCP}
        {{- end }}
      {{- with .egressTo }}
      to:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- with .extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* The texts under keys such as url, base_url and token_url that are URLs, as JSON: {list}. */ -}}
{{- define "sluicegate.urls" -}}
{{- $list := list -}}
{{- if kindIs "map" . -}}
{{- range $key, $part := . -}}
{{- if and (kindIs "string" $part) (regexMatch "(^|_)url$" $key) (regexMatch "^https?://" $part) -}}
{{- $list = append $list $part -}}
{{- else -}}
{{- $list = concat $list (include "sluicegate.urls" $part | fromJson).list -}}
{{- end -}}
{{- end -}}
{{- else if kindIs "slice" . -}}
{{- range . -}}
{{- $list = concat $list (include "sluicegate.urls" . | fromJson).list -}}
{{- end -}}
{{- end -}}
{{- /* `concat` of nothing is nil. */ -}}
{{- dict "list" ($list | default list) | toJson -}}
{{- end -}}
