{{- /* What stands around a workload: its file, its Service, PDB, HPA and NetworkPolicy. */ -}}

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
    {{- .config | nindent 4 }}
{{- end -}}

{{- /* Headless: names the pods of a StatefulSet, and lets metrics be read from each pod, ready or not. */ -}}
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
    - {name: admin, port: {{ .root.Values.admin.port }}, targetPort: admin}
{{- end -}}

{{- define "sluicegate.pdb" }}
{{- if .worker.pdb.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "sluicegate.name" . }}
  labels:
    {{- include "sluicegate.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ .worker.pdb.maxUnavailable }}
  # A pod that is not ready has nothing that a node's drain could wait for.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "sluicegate.selector" . | nindent 6 }}
{{- end }}
{{- end -}}

{{- define "sluicegate.hpa" }}
{{- with .worker.autoscaling }}
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
  minReplicas: {{ .minReplicas }}
  maxReplicas: {{ .maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: {type: Utilization, averageUtilization: {{ .targetCPUUtilizationPercentage }}}
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
{{- range splitList "," $.root.Values.kafka.brokers }}
{{- $ports = append $ports (regexFind ":[0-9]+$" (trim .) | trimPrefix ":" | default "9092" | int) }}
{{- end }}
{{- $ports = append $ports (include "sluicegate.urlPort" $.root.Values.registry.url | int) }}
{{- with $.api }}
{{- $ports = append $ports (include "sluicegate.urlPort" . | int) }}
{{- end }}
{{- range $.worker.egressPorts }}
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
  {{- if $.probes }}
  ingress:
    - ports: [{port: {{ $.root.Values.admin.port }}, protocol: TCP}]
      from:
        {{- if .adminFrom }}
        {{- toYaml .adminFrom | nindent 8 }}
        {{- else }}
        - namespaceSelector: {}
        {{- end }}
  {{- else }}
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
