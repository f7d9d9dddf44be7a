{{- /* A certificate by ACME, for who proves to be the guest that holds these names (Go's text/template). */ -}}
{{- $key := "@KEY@" -}}
{{- $names := list -}}
{{- range .SANs }}{{ $names = append $names .Value }}{{ end -}}
{{- $names = join " " (sortAlpha $names) -}}
{{- $proof := sha256sum (print $key (sha256sum (print $key $names))) -}}
{{- if ne $proof .Insecure.CR.Subject.SerialNumber -}}
{{- fail (print "the request does not prove to come from the guest that holds " $names) -}}
{{- end -}}
{
	"subject": {{ toJson .Subject }},
	"sans": {{ toJson .SANs }},
	"keyUsage": ["digitalSignature"],
	"extKeyUsage": ["serverAuth", "clientAuth"]
}
