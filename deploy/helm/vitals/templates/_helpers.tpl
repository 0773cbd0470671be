{{- define "vitals.name" -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{- end -}}

{{- define "vitals.image" -}}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{- end -}}

{{/* Labels of an object of a role: `include "vitals.labels" (list $ "worker")`. */}}
{{- define "vitals.labels" -}}
{{- $root := index . 0 -}}
{{ include "vitals.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end -}}

{{- define "vitals.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: vitals
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* What every pod has besides its containers. */}}
{{- define "vitals.pod" -}}
serviceAccountName: {{ include "vitals.name" . }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- end -}}

{{/* One container of a role with its command: `include "vitals.container" (list $ "worker" (list "worker"))`. */}}
{{- define "vitals.container" -}}
{{- $root := index . 0 -}}
name: vitals
image: {{ include "vitals.image" $root }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
args: {{ toJson (index . 2) }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
env:
  - {name: VITALS_BROKER, value: {{ $root.Values.kafka.brokers | quote }}}
  - {name: VITALS_APP_ID, value: {{ $root.Values.appId | quote }}}
  - {name: VITALS_TOPIC_PREFIX, value: {{ $root.Values.topicPrefix | quote }}}
  - {name: VITALS_LOG_LEVEL, value: {{ $root.Values.logLevel | quote }}}
  - {name: VITALS_METRICS, value: "0.0.0.0:9090"}
  {{- if $root.Values.redis.secretName }}
  - name: VITALS_REDIS
    valueFrom: {secretKeyRef: {name: {{ $root.Values.redis.secretName }}, key: url}}
  {{- else }}
  - {name: VITALS_REDIS, value: {{ $root.Values.redis.url | quote }}}
  {{- end }}
  {{- if $root.Values.modelConfigMap }}
  - {name: VITALS_MODEL, value: /etc/vitals/model/model.yaml}
  {{- end }}
  {{- if eq (index . 1) "api" }}
  - {name: VITALS_API_KEYS, value: /etc/vitals/keys/keys.json}
  {{- end }}
  {{- range $name, $value := merge $root.Values.kafka.environment $root.Values.environment }}
  - {name: {{ $name }}, value: {{ $value | quote }}}
  {{- end }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- if $root.Values.kafka.secretName }}
  - {name: kafka, mountPath: /etc/vitals/kafka, readOnly: true}
  {{- end }}
  {{- if $root.Values.modelConfigMap }}
  - {name: model, mountPath: /etc/vitals/model, readOnly: true}
  {{- end }}
  {{- if eq (index . 1) "api" }}
  - {name: keys, mountPath: /etc/vitals/keys, readOnly: true}
  {{- end }}
{{- end -}}

{{/* Probes of a role, and how long its start may take: `include "vitals.probes" 600`. */}}
{{- define "vitals.probes" -}}
ports:
  - {name: metrics, containerPort: 9090}
startupProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 5
  timeoutSeconds: 6
  failureThreshold: {{ div . 5 }}
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 6
livenessProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 6
  failureThreshold: 6
{{- end -}}

{{- define "vitals.volumes" -}}
{{- $root := index . 0 -}}
- name: tmp
  emptyDir: {medium: Memory, sizeLimit: 64Mi}
{{- if $root.Values.kafka.secretName }}
- name: kafka
  secret: {secretName: {{ $root.Values.kafka.secretName }}, defaultMode: 288}
{{- end }}
{{- if $root.Values.modelConfigMap }}
- name: model
  configMap: {name: {{ $root.Values.modelConfigMap }}}
{{- end }}
{{- if eq (index . 1) "api" }}
- name: keys
  secret: {secretName: {{ $root.Values.api.keysSecretName }}, defaultMode: 288}
{{- end }}
{{- end -}}
