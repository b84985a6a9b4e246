{{- /*
One pod template for all workers. Takes
  root, component   where and who
  worker            its values
  args              arguments of `sluice`
  config            its file, rendered
  secrets           list of {name: mount name, secret: Secret's name}
  data              name of the claim mounted at /data, if any
  probes            false for what has no admin pages or ends by itself
  restartPolicy     for Jobs
*/ -}}
{{- define "sluicegate.pod" -}}
{{- $root := .root -}}
{{- $pod := merge (deepCopy .worker.pod) $root.Values.pod -}}
metadata:
  annotations:
    # A new file or image path is a new pod. Contracts are not: the kubelet updates them in place, and masker, normaliser
    # and sinks take them over as they run. What runs once (apply, collectors) is made anew for them.
    checksum/config: {{ .config | sha256sum }}
    {{- if and $root.Values.contracts.files (or .restartPolicy (hasPrefix "collector" .component)) }}
    checksum/contracts: {{ $root.Values.contracts.files | toJson | sha256sum }}
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
  serviceAccountName: {{ include "sluicegate.serviceAccountName" $root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $pod.terminationGracePeriodSeconds }}
  {{- with .restartPolicy }}
  restartPolicy: {{ . }}
  {{- end }}
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pod.priorityClassName }}
  priorityClassName: {{ . }}
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
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "sluicegate.selector" . | nindent 10 }}
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
        {{- with $root.Values.logLevel }}
        - name: RUST_LOG
          value: {{ . | quote }}
        {{- end }}
        {{- with $pod.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- if .probes }}
      ports:
        - name: admin
          containerPort: {{ $root.Values.admin.port }}
      # Configuration is checked before the admin pages are there: what is wrong ends the process with exit code 64.
      startupProbe:
        httpGet: {path: /healthz, port: admin}
        periodSeconds: 2
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /healthz, port: admin}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      # Not ready while a neighbour is away, a partition stands still, or the worker drains.
      readinessProbe:
        httpGet: {path: /readyz, port: admin}
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
      {{- end }}
      resources:
        {{- toYaml .worker.resources | nindent 8 }}
      securityContext:
        {{- toYaml $pod.containerSecurityContext | nindent 8 }}
      volumeMounts:
        - {name: config, mountPath: /etc/sluicegate/config, readOnly: true}
        - {name: tmp, mountPath: /tmp}
        {{- if or $root.Values.contracts.files $root.Values.contracts.volume }}
        - {name: contracts, mountPath: /etc/sluicegate/schemas, readOnly: true}
        {{- end }}
        {{- range .secrets }}
        - {name: secret-{{ .name }}, mountPath: {{ include "sluicegate.secrets" $ }}/{{ .name }}, readOnly: true}
        {{- end }}
        {{- if .data }}
        - {name: data, mountPath: /data}
        {{- end }}
        {{- with $pod.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap: {name: {{ include "sluicegate.name" . }}}
    - name: tmp
      emptyDir: {sizeLimit: 256Mi}
    {{- if $root.Values.contracts.files }}
    - name: contracts
      configMap:
        # Flat, aviation__flight__value.avsc, as the keys are: a list of items would make every new contract a new pod.
        name: {{ include "sluicegate.name" (dict "root" $root "component" "contracts") }}
    {{- else if $root.Values.contracts.volume }}
    - name: contracts
      {{- toYaml $root.Values.contracts.volume | nindent 6 }}
    {{- end }}
    {{- range .secrets }}
    - name: secret-{{ .name }}
      # Readable through fsGroup; nobody else.
      secret: {secretName: {{ .secret }}, defaultMode: 0440}
    {{- end }}
    {{- with .data }}
    - name: data
      persistentVolumeClaim: {claimName: {{ . }}}
    {{- end }}
    {{- with $pod.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- /* Secrets every worker mounts, as a YAML list. */ -}}
{{- define "sluicegate.commonSecrets" -}}
{{- $list := list -}}
{{- with .Values.kafka.existingSecret -}}
{{- $list = append $list (dict "name" "kafka" "secret" .) -}}
{{- else -}}
{{- if .Values.kafka.secrets -}}
{{- fail "kafka.secrets names keys of a Secret: set kafka.existingSecret" -}}
{{- end -}}
{{- end -}}
{{- with .Values.registry.existingSecret -}}
{{- $list = append $list (dict "name" "registry" "secret" .) -}}
{{- end -}}
{{- toYaml (dict "list" $list) -}}
{{- end -}}
