{{- define "millstream.labels" -}}
app.kubernetes.io/name: millstream
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{- define "millstream.name" -}}
{{ printf "%s-%s" .root.Release.Name .name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* A pod: who it runs as, and its volumes. */}}
{{- define "millstream.pod" -}}
serviceAccountName: {{ .Release.Name }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
volumes:
  - {name: tmp, emptyDir: {}}
  - {name: cache, emptyDir: {}}
  {{- with .Values.secret }}
  - {name: secrets, secret: {secretName: {{ . }}}}
  {{- end }}
  {{- with .Values.certificates }}
  - {name: certificates, secret: {secretName: {{ . }}}}
  {{- end }}
{{- end }}

{{/* A container: image, settings, secrets; its file system cannot be written. */}}
{{- define "millstream.container" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
envFrom:
  - configMapRef: {name: {{ .Release.Name }}}
  {{- with .Values.environmentSecret }}
  - secretRef: {name: {{ . }}}
  {{- end }}
{{- end }}

{{- define "millstream.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: cache, mountPath: /var/cache/millstream}
{{- if .Values.secret }}
- {name: secrets, mountPath: /run/secrets/millstream, readOnly: true}
{{- end }}
{{- if .Values.certificates }}
- {name: certificates, mountPath: /run/certificates, readOnly: true}
{{- end }}
{{- end }}

{{/* How a server is asked: by HTTPS once it has a certificate. */}}
{{- define "millstream.scheme" -}}
{{ hasKey .root.Values.settings (printf "%s__HTTP__CERTIFICATE" (upper .name)) | ternary "HTTPS" "HTTP" }}
{{- end }}

{{/* Probes of a server: alive, and ready once it has read the log. */}}
{{- define "millstream.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: http, scheme: {{ include "millstream.scheme" . }}}
  periodSeconds: 2
  failureThreshold: 90
livenessProbe:
  httpGet: {path: /healthz, port: http, scheme: {{ include "millstream.scheme" . }}}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /readyz, port: http, scheme: {{ include "millstream.scheme" . }}}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
{{- end }}
