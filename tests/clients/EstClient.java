// A device that enrols with the EST client of Bouncy Castle (RFC 7030): every operation once, one line of output for each.
//
// Arguments: host:port, file with the certificate that the server's leads to, name, token.

import java.io.FileInputStream;
import java.math.BigInteger;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.KeyStore;
import java.security.Security;
import java.security.cert.CertificateFactory;
import java.security.cert.TrustAnchor;
import java.security.cert.X509Certificate;
import java.security.spec.ECGenParameterSpec;
import java.util.Collection;
import java.util.Set;
import javax.net.ssl.KeyManager;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.X509TrustManager;
import javax.security.auth.x500.X500Principal;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.jcajce.JcaX509CertificateConverter;
import org.bouncycastle.est.ESTAuth;
import org.bouncycastle.est.ESTException;
import org.bouncycastle.est.ESTService;
import org.bouncycastle.est.EnrollmentResponse;
import org.bouncycastle.est.jcajce.JcaHttpAuthBuilder;
import org.bouncycastle.est.jcajce.JcaJceUtils;
import org.bouncycastle.est.jcajce.JsseESTServiceBuilder;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;
import org.bouncycastle.pkcs.PKCS10CertificationRequest;
import org.bouncycastle.pkcs.jcajce.JcaPKCS10CertificationRequestBuilder;

public final class EstClient {
    private final String server;
    private final X509TrustManager[] trust;

    private EstClient(String server, X509Certificate root) throws Exception {
        this.server = server;
        this.trust = JcaJceUtils.getCertPathTrustManager(Set.of(new TrustAnchor(root, null)), null);
    }

    private ESTService service(KeyManager... keys) {
        var builder = new JsseESTServiceBuilder(server, trust);
        return (keys.length == 0 ? builder : builder.withKeyManagers(keys)).build();
    }

    private static KeyPair key() throws Exception {
        var generator = KeyPairGenerator.getInstance("EC");
        generator.initialize(new ECGenParameterSpec("secp256r1"));
        return generator.generateKeyPair();
    }

    private static PKCS10CertificationRequest request(String name, KeyPair key) throws Exception {
        var subject = new X500Principal("CN=" + name);
        var signer = new JcaContentSignerBuilder("SHA256withECDSA").build(key.getPrivate());
        return new JcaPKCS10CertificationRequestBuilder(subject, key.getPublic()).build(signer);
    }

    private static X509Certificate only(EnrollmentResponse response) throws Exception {
        Collection<X509CertificateHolder> all = response.getStore().getMatches(null);
        if (!response.isCompleted() || all.size() != 1) {
            throw new IllegalStateException(all.size() + " certificates");
        }
        return new JcaX509CertificateConverter().getCertificate(all.iterator().next());
    }

    private static KeyManager[] shown(KeyPair key, X509Certificate... chain) throws Exception {
        var store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        store.setKeyEntry("own", key.getPrivate(), new char[0], chain);
        var factory = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        factory.init(store, new char[0]);
        return factory.getKeyManagers();
    }

    private static void say(String step, Object result) {
        System.out.println(step + ": " + result);
    }

    public static void main(String[] arguments) throws Exception {
        Security.addProvider(new BouncyCastleProvider());
        var factory = CertificateFactory.getInstance("X.509");
        X509Certificate root;
        try (var file = new FileInputStream(arguments[1])) {
            root = (X509Certificate) factory.generateCertificate(file);
        }
        var client = new EstClient(arguments[0], root);
        var name = arguments[2];

        var authorities = ESTService.storeToArray(client.service().getCACerts().getCertificateStore());
        say("cacerts", authorities.length);
        var wanted = client.service().getCSRAttributes().getAttributesResponse();
        say("csrattrs", wanted.getRequirements().size());

        ESTAuth login = new JcaHttpAuthBuilder(null, name, arguments[3].toCharArray()).build();
        var key = key();
        var first = only(client.service().simpleEnroll(false, request(name, key), login));
        if (!first.getPublicKey().equals(key.getPublic())) {
            throw new IllegalStateException("the certificate is for another key");
        }
        say("simpleenroll", first.getSubjectX500Principal());

        X509Certificate issuer = null;
        for (var authority : authorities) {
            var certificate = new JcaX509CertificateConverter().getCertificate(authority);
            if (certificate.getSubjectX500Principal().equals(first.getIssuerX500Principal())) {
                issuer = certificate;
            }
        }
        var next = key();
        var again = client.service(shown(key, first, issuer));
        var second = only(again.simpleEnroll(true, request(name, next), null));
        BigInteger former = first.getSerialNumber();
        say("simplereenroll", !second.getSerialNumber().equals(former) && second.getPublicKey().equals(next.getPublic()));

        try {
            client.service().simpleEnroll(false, request(name, key()), login);
            say("used token", "taken");
        } catch (ESTException refused) {
            say("used token", refused.getStatusCode());
        }
    }
}
