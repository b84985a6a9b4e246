{{- /* One pod template for all workers. Takes what sluicegate.complete gives, and root. */ -}}
{{- define "sluicegate.pod" -}}
{{- $root := .root -}}
{{- $pod := .pod -}}
{{- $mounted := or .contracts.files .contracts.volume -}}
metadata:
  annotations:
    # A new file or image path is a new pod. Contracts are not: the kubelet updates them in place, and masker, normaliser
    # and sinks take them over as they run. What runs once, and a collector, is made anew for them.
    checksum/config: {{ .text | sha256sum }}
    {{- if and .contracts.files (or .once (eq .worker "collector")) }}
    checksum/contracts: {{ .contracts.files | toJson | sha256sum }}
    {{- end }}
    {{- with $pod.annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- with $pod.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- include "sluicegate.labels" . | nindent 4 }}
spec:
  serviceAccountName: {{ include "sluicegate.serviceAccountName" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ int $pod.terminationGracePeriodSeconds }}
  {{- if .once }}
  restartPolicy: Never
  {{- end }}
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pod.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $pod.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- toYaml $pod.securityContext | nindent 4 }}
  {{- with $pod.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pod.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pod.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    {{- if $pod.topologySpreadConstraints }}
    {{- toYaml $pod.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "sluicegate.selector" $ | nindent 10 }}
    {{- end }}
    {{- end }}
  {{- if or $pod.sidecars $pod.initContainers }}
  initContainers:
    # Side-cars first: what an init container needs may come from one. They end after the worker.
    {{- range $pod.sidecars }}
    - {{- toYaml (mergeOverwrite (dict "restartPolicy" "Always") .) | nindent 6 }}
    {{- end }}
    {{- with $pod.initContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  containers:
    - name: sluice
      image: {{ include "sluicegate.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args:
        {{- toYaml .args | nindent 8 }}
      env:
        # The instance is host name and process id. `sluice` is process 1 of its container, so a pod of a
        # StatefulSet has the same instance after a restart and takes its transactional id over at once.
        - name: HOSTNAME
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
        {{- if .rackFromZone }}
        # Empty where Kubernetes does not copy the node's zone to the pod; then it has no effect.
        - name: SLUICE_RACK
          valueFrom: {fieldRef: {fieldPath: "metadata.labels['topology.kubernetes.io/zone']"}}
        {{- end }}
        {{- with $root.Values.logLevel }}
        - name: RUST_LOG
          value: {{ . | quote }}
        {{- end }}
        {{- with $pod.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $pod.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if .probes }}
      ports:
        - name: admin
          containerPort: {{ int $root.Values.admin.port }}
      # Configuration is checked before the admin pages are there: a mistake ends the process with exit code 64.
      startupProbe:
        {{- include "sluicegate.probe" (list $pod.probes.startup "/healthz" (dict "periodSeconds" 2 "failureThreshold" 60)) | nindent 8 }}
      livenessProbe:
        {{- include "sluicegate.probe" (list $pod.probes.liveness "/healthz" (dict "periodSeconds" 10 "timeoutSeconds" 5 "failureThreshold" 6)) | nindent 8 }}
      # Not ready while a neighbour is away, a partition stands still, or the worker drains.
      readinessProbe:
        {{- include "sluicegate.probe" (list $pod.probes.readiness "/readyz" (dict "periodSeconds" 5 "timeoutSeconds" 3 "failureThreshold" 2)) | nindent 8 }}
      {{- end }}
      resources:
        {{- toYaml .values.resources | nindent 8 }}
      securityContext:
        {{- toYaml $pod.containerSecurityContext | nindent 8 }}
      volumeMounts:
        - {name: config, mountPath: /etc/sluicegate/config, readOnly: true}
        - {name: tmp, mountPath: /tmp}
        {{- if $mounted }}
        - {name: contracts, mountPath: /etc/sluicegate/schemas, readOnly: true}
        {{- end }}
        {{- range $secret, $_ := .secrets }}
        - {name: {{ include "sluicegate.volume" $secret }}, mountPath: /run/secrets/sluicegate/{{ $secret }}, readOnly: true}
        {{- end }}
        {{- if include "sluicegate.claim" . }}
        - {name: data, mountPath: /data{{ if eq .facts.storage "read" }}, readOnly: true{{ end }}}
        {{- end }}
        {{- with $pod.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap: {name: {{ include "sluicegate.name" . }}}
    - name: tmp
      emptyDir: {sizeLimit: 256Mi}
    {{- if .contracts.files }}
    - name: contracts
      configMap:
        # Flat, aviation__flight__value.avsc, as the keys are: a list of items would make every new contract a new pod.
        name: {{ include "sluicegate.name" (dict "root" $root "component" .contracts.component) }}
    {{- else if .contracts.volume }}
    - name: contracts
      {{- toYaml .contracts.volume | nindent 6 }}
    {{- end }}
    {{- range $secret, $keys := .secrets }}
    - name: {{ include "sluicegate.volume" $secret }}
      # Readable through fsGroup; nobody else.
      secret:
        secretName: {{ $secret }}
        defaultMode: 0440
        {{- with $keys }}
        items:
          {{- range . }}
          - {key: {{ . | quote }}, path: {{ . | quote }}}
          {{- end }}
        {{- end }}
    {{- end }}
    {{- with include "sluicegate.claim" . }}
    - name: data
      persistentVolumeClaim: {claimName: {{ . }}}
    {{- end }}
    {{- with $pod.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- /* A probe. Takes a list: the values', the path, the chart's numbers. A handler of the values' replaces the chart's. */ -}}
{{- define "sluicegate.probe" -}}
{{- $own := first . | default dict -}}
{{- $chart := dict -}}
{{- if not (or $own.httpGet $own.exec $own.tcpSocket $own.grpc) -}}
{{- $chart = dict "httpGet" (dict "path" (index . 1) "port" "admin") -}}
{{- end -}}
{{- toYaml (mergeOverwrite $chart (last .) (deepCopy $own)) -}}
{{- end -}}

{{- /* A Secret's name as the name of a volume, which has no dots and 63 characters at most. */ -}}
{{- define "sluicegate.volume" -}}
{{- if and (le (len .) 56) (not (contains "." .)) -}}
secret-{{ . }}
{{- else -}}
secret-{{ . | replace "." "-" | trunc 40 | trimSuffix "-" }}-{{ . | sha256sum | trunc 8 }}
{{- end -}}
{{- end -}}

{{- /* The claim that is mounted at /data; empty if there is none. */ -}}
{{- define "sluicegate.claim" -}}
{{- if .facts.storage -}}
{{- if .values.storage.existingClaim -}}
{{ .values.storage.existingClaim }}
{{- else if and (eq .facts.storage "own") .values.storage.enabled -}}
{{ include "sluicegate.name" . }}
{{- end -}}
{{- end -}}
{{- end -}}
